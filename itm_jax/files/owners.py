"""What lock files and leases say of their owner: its process, its machine, since when, and its command."""

import os
import socket
import sys
import time
from typing import Any

from itm_jax.errors import for_terminal


def owner_record() -> dict[str, Any]:
    """Returns what this process says of itself."""
    since = time.strftime("%Y-%m-%d %H:%M:%S")
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": since, "command": " ".join(sys.argv)}


def describe_owner(record: Any) -> str:
    """Returns a record as part of a message; the terminal is safe from what somebody else wrote there."""
    if not isinstance(record, dict) or not {"pid", "host", "since", "command"} <= record.keys():
        return "a process that left no name"
    who = f"process {record['pid']} on {record['host']} since {record['since']} ({record['command']})"
    return for_terminal(who)
