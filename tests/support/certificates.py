"""Certificates made by the openssl command: authorities, servers and clients, also expired ones."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc")
_PAST = ("20200101000000Z", "20210101000000Z")
_FAR = ("20200101000000Z", "20991231000000Z")
# What `openssl ca` needs to know; unlike `openssl req` it takes a time in the past.
_CONFIG = """
[ca]
default_ca = ours
[ours]
database = index.txt
new_certs_dir = .
serial = serial
default_md = sha256
policy = any
copy_extensions = copy
[any]
commonName = supplied
"""


class Certificates:
    """A directory with authorities of our own and what they have signed: NAME.crt and NAME.key."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        (directory / "ca.cnf").write_text(_CONFIG)
        (directory / "index.txt").touch()

    def make_authority(self, name: str) -> None:
        """Make an authority that signs itself."""
        self._openssl("req", "-x509", *_KEY, "-keyout", f"{name}.key", "-out", f"{name}.crt",
                      "-subj", f"/CN={name}", "-days", "2")  # fmt: skip

    def sign(self, name: str, authority: str, *, is_expired: bool = False) -> None:
        """Make a certificate for 127.0.0.1 that an authority has signed."""
        self._openssl("req", *_KEY, "-keyout", f"{name}.key", "-out", f"{name}.csr",
                      "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1",
                      "-addext", "basicConstraints=critical,CA:FALSE")  # fmt: skip
        start, end = _PAST if is_expired else _FAR
        self._openssl("ca", "-batch", "-notext", "-config", "ca.cnf", "-rand_serial",
                      "-cert", f"{authority}.crt", "-keyfile", f"{authority}.key",
                      "-in", f"{name}.csr", "-out", f"{name}.crt",
                      "-startdate", start, "-enddate", end)  # fmt: skip

    def path(self, file: str) -> str:
        """Return the path of a file of the directory."""
        return str(self._directory / file)

    def _openssl(self, *args: str) -> None:
        subprocess.run(["openssl", *args], cwd=self._directory, check=True, capture_output=True)
