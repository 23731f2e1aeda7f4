/* What the benchmark's C programs share: the clock, the event's bytes, the schedule.
 *
 * Each program is driven by its parent: one command per line on stdin, one JSON object per line
 * on stdout; it ends when stdin does. */
#ifndef BENCH_H
#define BENCH_H

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MAX_EVENT_BYTES (300 * 1024) /* the contract's 256 KiB and what is around it */

static inline int64_t now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * INT64_C(1000000000) + now.tv_nsec;
}

static inline void sleep_until(int64_t due_ns) {
    struct timespec due = {due_ns / 1000000000, due_ns % 1000000000};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) == EINTR) {
    }
}

static inline void fail(const char *what) {
    fprintf(stderr, errno ? "%s: %s\n" : "%s\n", what, strerror(errno));
    exit(1);
}

/* As many descriptors as it may have: by default many systems give a process 1,024 of them. */
static inline void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
        fail("getrlimit");
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
        fail("setrlimit");
}

/* This process's CPU time so far, in seconds. */
struct cpu {
    double user_s, system_s;
};

static inline struct cpu cpu_now(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (struct cpu){usage.ru_utime.tv_sec + usage.ru_utime.tv_usec / 1e6,
                        usage.ru_stime.tv_sec + usage.ru_stime.tv_usec / 1e6};
}

/* `count` events numbered from `first`, the i-th due at start_ns + i * interval_ns whatever became
 * of the one before; as fast as they go when interval_ns is 0. With one user they are for "bench" and
 * so for every stream; with more, event n is for "bench-<n % users>", the user of stream n % users. */
struct schedule {
    long first, count;
    int64_t start_ns, interval_ns;
    int data_bytes;
    long users;
};

/* Reads the command "run FIRST COUNT START_NS INTERVAL_NS DATA_BYTES USERS". */
static inline bool parse_run(const char *line, struct schedule *run) {
    return sscanf(line, "run %ld %ld %" SCNd64 " %" SCNd64 " %d %ld", &run->first, &run->count,
                  &run->start_ns, &run->interval_ns, &run->data_bytes, &run->users) == 6 &&
           run->data_bytes < MAX_EVENT_BYTES - 1024 && run->users > 0;
}

/* Writes the name of the user of event n, at most 31 bytes and a NUL; returns its length. */
static inline int write_user(char *to, const struct schedule *run, long n) {
    return run->users == 1 ? sprintf(to, "bench") : sprintf(to, "bench-%ld", n % run->users);
}

/* Waits until event i is due and returns that time: latency is counted from here, so that being
 * late makes it worse, not better (no coordinated omission). */
static inline int64_t wait_for_event(const struct schedule *run, long i) {
    if (run->interval_ns == 0)
        return now_ns();
    int64_t due_ns = run->start_ns + i * run->interval_ns;
    sleep_until(due_ns);
    return due_ns;
}

/* Writes the data members of one event, `"t":…,"n":…,"pad":"…"`, so that they make an object of
 * data_bytes with their braces. Returns the bytes written. */
static inline int write_members(char *to, int64_t t, long n, int data_bytes) {
    int length = sprintf(to, "\"t\":%" PRId64 ",\"n\":%ld,\"pad\":\"", t, n);
    int padding = data_bytes - length - 3; /* two braces and the closing quote */
    if (padding > 0) {
        memset(to + length, 'x', padding);
        length += padding;
    }
    to[length++] = '"';
    return length;
}

#endif
