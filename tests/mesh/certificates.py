"""Certificates that are not valid now."""

import datetime as dt

from woolexec.mesh import authority


def issue_at(made, role, days, *, name, lasts=10):
    """Have a certificate issued so many days from now."""

    class Then(dt.datetime):
        @classmethod
        def now(cls, tz=None):
            return dt.datetime.now(tz) + dt.timedelta(days=days)

    try:
        authority.datetime = Then
        return made.issue(role, name=name, days=lasts)
    finally:
        authority.datetime = dt.datetime
