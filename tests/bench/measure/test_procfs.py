"""Figures from /proc: parsed from samples, and those of this process."""

import os
import socket
import subprocess
import time

import pytest

from bench.measure.procfs import (
    CpuTime,
    children,
    connection_counts,
    cpu_time,
    listen_overflows,
    parse_connections,
    parse_kib,
    parse_listen_overflows,
    parse_stat,
    parse_tcp_pages,
    pss_bytes,
    reserve_core,
    settled_pss_bytes,
    slab_bytes,
    tcp_bytes,
)

STAT = "4242 {} S 1 4242 4242 0 -1 4194560 9000 0 12 0 250 175 8 9 20 0 1 0 5000 1000000 2500 0\n"
SMAPS_ROLLUP = """\
55d0c8a4e000-7ffd3a5f1000 ---p 00000000 00:00 0                          [rollup]
Rss:               14012 kB
Pss:               11875 kB
Pss_Dirty:          9624 kB
Pss_Anon:           9600 kB
"""


@pytest.mark.parametrize("name", ["(python)", "(a b)", "(x) S 1 (y)"])
def test_cpu_time_is_read_behind_any_process_name(name: str) -> None:
    assert parse_stat(STAT.format(name), ticks_per_s=100) == CpuTime(2.5, 1.75)


def test_cpu_time_counts_from_an_earlier_one() -> None:
    used = CpuTime(2.5, 1.75) - CpuTime(2.0, 1.5)
    assert used == CpuTime(0.5, 0.25)
    assert used.total_s == 0.75


def test_pss_is_the_line_of_that_name() -> None:
    assert parse_kib(SMAPS_ROLLUP, "Pss") == 11875 * 1024


def test_pss_of_an_old_kernel_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"no line .Pss.*Linux 4\.14"):
        parse_kib("Rss: 14012 kB\n", "Pss")


SOCKSTAT = """\
sockets: used 178
TCP: inuse 8 orphan 0 tw 3 alloc 12 mem 17
UDP: inuse 1 mem 2
"""


def test_pages_of_tcp_are_those_of_its_line() -> None:
    assert parse_tcp_pages(SOCKSTAT) == 17
    with pytest.raises(ValueError, match="TCP"):
        parse_tcp_pages("UDP: inuse 1 mem 2\n")


def test_slabs_are_the_line_of_that_name() -> None:
    assert parse_kib("Cached: 1 kB\nSlab:           160424 kB\n", "Slab") == 160424 * 1024
    with pytest.raises(ValueError, match="Slab"):
        parse_kib("Cached: 1 kB\n", "Slab")


def test_overflows_of_listeners_are_found_by_their_name() -> None:
    netstat = "TcpExt: SyncookiesSent ListenOverflows\nTcpExt: 3 7\nIpExt: InOctets\nIpExt: 9\n"
    assert parse_listen_overflows(netstat) == 7


def test_the_kernel_of_this_machine_has_all_figures() -> None:
    assert listen_overflows() >= 0
    assert tcp_bytes() >= 0
    assert slab_bytes() > 1_000_000


def test_figures_of_several_processes_are_added() -> None:
    assert CpuTime(1.0, 2.0) + CpuTime(0.5, 0.25) == CpuTime(1.5, 2.25)
    assert cpu_time() == CpuTime(0.0, 0.0)
    assert pss_bytes(os.getpid(), os.getpid()) > 1.5 * pss_bytes(os.getpid())


NET_TCP = """\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:0BB8 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 71 1 0
   1: 0100007F:0BB8 0200007F:9C40 01 00000000:00000000 00:00000000 00000000     0        0 72 1 0
   2: 0200007F:9C40 0100007F:0BB8 01 00000000:00000000 00:00000000 00000000     0        0 73 1 0
   3: 0100007F:0BB9 0200007F:9C41 01 00000000:00000000 00:00000000 00000000     0        0 74 1 0
"""


def test_connections_to_a_port_are_no_listeners_and_not_their_other_ends() -> None:
    assert parse_connections(NET_TCP, [3000]) == {"72"}
    assert parse_connections(NET_TCP, [3000, 3001]) == {"72", "74"}


def test_connections_of_a_process_are_counted() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
        with socket.create_connection(address), listener.accept()[0]:
            assert connection_counts([os.getpid()], [address[1]]) == [1]


def test_children_of_children_are_found() -> None:
    script = "sleep 60 & echo $!; wait"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, process_group=0) as shell:
        assert shell.stdout is not None
        sleeping = int(shell.stdout.readline())
        found = children(os.getpid())
        os.killpg(shell.pid, 9)
    assert found.index(shell.pid) < found.index(sleeping)


def test_this_process_has_used_cpu_and_memory() -> None:
    busy_until = time.process_time() + 0.05
    before = cpu_time(os.getpid())
    while time.process_time() < busy_until:
        pass
    assert 0 < (cpu_time(os.getpid()) - before).total_s < 5
    assert pss_bytes(os.getpid()) > 1_000_000


def test_settled_memory_shows_what_was_added() -> None:
    before = settled_pss_bytes(os.getpid())
    added = bytearray(b"x") * 64_000_000  # much more than the shared pages
    grown = settled_pss_bytes(os.getpid()) - before
    assert len(added) * 0.8 < grown < len(added) * 1.25


def test_the_reserved_core_is_kept_free_of_this_process() -> None:
    cores = os.sched_getaffinity(0)
    try:
        core = reserve_core()
        assert core in cores
        assert os.sched_getaffinity(0) == (cores - {core} or cores)
    finally:
        os.sched_setaffinity(0, cores)


def test_processes_are_added_up() -> None:
    own = os.getpid()
    assert pss_bytes(own, own) > 1.8 * pss_bytes(own)
    assert cpu_time(own, own).total_s >= cpu_time(own).total_s
    assert cpu_time().total_s == pss_bytes() == 0
