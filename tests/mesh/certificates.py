"""Certificates that are not valid now."""

import datetime as dt

from woolexec.mesh.security import certificate_authority


def issue_at(made, role, days, *, name, lasts=10):
    """Have a certificate issued so many days from now."""

    class Then(dt.datetime):
        @classmethod
        def now(cls, tz=None):
            return dt.datetime.now(tz) + dt.timedelta(days=days)

    try:
        certificate_authority.datetime = Then
        return made.issue(role, name=name, days=lasts)
    finally:
        certificate_authority.datetime = dt.datetime
