"""Finding peers: the public names for writing your own discovery (see docs/discovery.md)."""

from woolexec.discovery.base import PORT as PORT
from woolexec.discovery.base import Discovery as Discovery
from woolexec.discovery.base import Event as Event
from woolexec.discovery.base import Joined as Joined
from woolexec.discovery.base import Left as Left
from woolexec.discovery.base import Record as Record
from woolexec.discovery.base import Updated as Updated
