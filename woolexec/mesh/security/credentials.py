"""
Who may use a peer: clients that have its token, a certificate of its authority, or both if it requires both.

Processes of one user share a token, which the first of them writes to a file that only that user can read; peers and
clients on one machine find it automatically.  Between hosts, TLS is used in addition or instead.
"""

from __future__ import annotations

import hmac
import os
import secrets
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from woolexec.checks import wrong_type
from woolexec.errors import CredentialsError
from woolexec.mesh.security.tokens import check_token, new_token
from woolexec.platform.files import create, is_closed_to_others, is_ours, is_secret, open_to_read

if TYPE_CHECKING:
    from woolexec.mesh.security.tls import Tls


@dataclass(frozen=True, slots=True)
class Credentials:
    """
    What a client and a peer use to authenticate each other.

    :param token: the shared secret, made by ``woolexec certs token`` or `with_new_token`; None: no token is required
    :param tls: the certificate files; None: none are used
    :raises CredentialsError: if the token was not made by woolexec
    """

    token: bytes | None = field(default=None, repr=False)
    tls: Tls | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.token, bytes | None):  # the message must not show the value
            raise TypeError(f"token must be bytes or None, not {type(self.token).__name__}")
        if self.token is not None:
            check_token(self.token, "token=")
        if self.tls is not None and not hasattr(self.tls, "certificate"):
            raise wrong_type("tls", "the tls of Credentials.from_files(...), or None", self.tls)

    def __reduce__(self) -> tuple[object, ...]:
        raise TypeError("credentials cannot be pickled: the pickle would contain the token")

    @property
    def are_mutual(self) -> bool:
        """Whether each end authenticates itself by a certificate."""
        return self.tls is not None and None not in (self.tls.ca, self.tls.certificate, self.tls.key)

    @property
    def proof(self) -> str:
        """A text for logs that says what a client with these credentials has proved; it does not reveal the token."""
        if self.token is None:
            return "nobody"
        return f"token {hmac.digest(self.token, b'woolexec token id', 'sha256').hex()[:8]}"

    def check_of_peer(self) -> None:
        """
        Check that a peer with these credentials would not accept every client over TLS.

        :raises CredentialsError: if it has no certificate, or clients need not authenticate
        """
        if self.tls is None:
            return
        if self.tls.certificate is None:
            raise CredentialsError("a peer that uses TLS needs a certificate and its key")
        if self.tls.ca is None and self.token is None:
            raise CredentialsError("a peer that uses TLS needs an authority or a token to authenticate clients")

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Credentials:
        """
        Read the files that WOOLEXEC_TOKEN_FILE, WOOLEXEC_TLS_CA, _CERT, _KEY and _REVOKED name.

        If none of them is set, use the token of this user.

        :raises FileNotFoundError: if a file is not there
        :raises CredentialsError: if one cannot be used
        """
        names = [f"WOOLEXEC_{name}" for name in ("TOKEN_FILE", "TLS_CA", "TLS_CERT", "TLS_KEY", "TLS_REVOKED")]
        for name in names:
            if environment.get(name, name).strip() == "":  # a broken template must not weaken security
                raise CredentialsError(f"{name} is empty: set it to a file, or unset it")
        token, *tls = map(environment.get, names)
        return cls.from_files(token, *tls)

    @classmethod
    def from_files(
        cls,
        token: str | None = None,
        ca: str | None = None,
        certificate: str | None = None,
        key: str | None = None,
        revoked: str | None = None,
    ) -> Credentials:
        """
        Read a token, certificates, or both, from files; without any, use the token of this user.

        :param revoked: the list of certificates that ``woolexec certs revoke`` has revoked
        :raises FileNotFoundError: if a file is not there
        :raises CredentialsError: if one cannot be used
        """
        given = {"token": token, "ca": ca, "certificate": certificate, "key": key, "revoked": revoked}
        for name, path in given.items():
            if path is not None and not os.fspath(path).strip():  # must not weaken security
                raise CredentialsError(f"{name} is empty: give a file, or None")
        own = None if token is None else cls.from_file(token).token
        if ca is None and certificate is None and key is None:
            if revoked is not None:
                raise CredentialsError("a list of revoked certificates needs an authority")
            return cls.of_this_user() if token is None else cls(own)
        from woolexec.mesh.security.tls import Tls

        tls = Tls(ca, certificate, key, revoked=revoked)
        tls.check()
        return cls(own, tls)

    @classmethod
    def of_this_user(cls) -> Credentials:
        """
        Read the token that the processes of this user share on this machine; create it if there is none.

        :raises CredentialsError: if other users can access its file or folder
        """
        path = state_folder() / "token"
        try:
            return cls.from_file(path)
        except FileNotFoundError:
            pass
        # Write to another name first, so that no process sees half a token; the first process to link it wins.
        own = path.with_name(f"token.{os.getpid()}.{secrets.token_hex(4)}")
        fd = create(own, 0o600)
        try:
            with os.fdopen(fd, "w") as file:
                file.write(new_token().decode() + "\n")
            try:
                os.link(own, path)
            except FileExistsError:
                pass
        finally:
            own.unlink()
        return cls.from_file(path)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Credentials:
        """
        Read a token from a file that only its owner can read.

        :raises FileNotFoundError: if there is no such file
        :raises CredentialsError: if others can read or write it, or it contains no token
        """
        try:
            fd = open_to_read(path, follows=True)  # a link of Kubernetes, for example: what it leads to is checked
        except FileNotFoundError:
            raise
        except OSError as exc:
            raise CredentialsError(f"token file {os.fspath(path)}: {exc.strerror}") from exc
        try:
            about = os.fstat(fd)
            if not stat.S_ISREG(about.st_mode):
                raise CredentialsError(f"token file {os.fspath(path)} is not a file")
            if not is_ours(about, or_of_root=True):
                raise CredentialsError(f"token file {os.fspath(path)} belongs to another user")
            if not is_secret(about):
                raise CredentialsError(f"token file {os.fspath(path)} can be read by others: chmod 600 it")
            token = os.read(fd, 4096).strip()
        finally:
            os.close(fd)
        return cls.from_text(token, f"token file {os.fspath(path)}")

    @classmethod
    def from_text(cls, token: bytes, source: str = "the text") -> Credentials:
        """
        Use this token.

        :param source: where the token comes from, for messages
        :raises CredentialsError: if it was not made by woolexec
        """
        check_token(token, source)
        return cls(token)

    @classmethod
    def with_new_token(cls) -> Credentials:
        """Return credentials with a new token, for a peer and clients that this process connects."""
        return cls(new_token())


def state_folder(*inside: str) -> Path:
    """
    Return the folder that processes of this user share on this machine; create it if needed.

    :param inside: the names of nested folders; the innermost one is returned
    :raises CredentialsError: if other users can access one of them
    """
    given = os.environ.get("WOOLEXEC_STATE")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if given == "":
        raise CredentialsError("WOOLEXEC_STATE is empty: set it to a folder, or unset it")
    if given is not None:
        path = Path(given)
    elif runtime and os.path.isdir(runtime):
        path = Path(runtime) / "woolexec"
    else:
        path = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "woolexec"
    _make_private(path)
    for name in inside:
        path /= name
        _make_private(path)
    return path


def _make_private(path: Path) -> None:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        about = path.lstat()
    except OSError as exc:
        raise CredentialsError(f"folder {path}: {exc.strerror}") from exc
    if not stat.S_ISDIR(about.st_mode) or not (is_ours(about) and is_closed_to_others(about)):
        raise CredentialsError(f"{path} must be a folder of this user that others cannot access: chmod 700 it")
