"""The address book: which nodes there are, where they say they can be reached, and what we know of it ourselves.

- `hosts`  addresses as text: parsing, network groups, which may be dialled at all
- `book`   the records, with quotas that keep any one network group, or any one teller, from filling it

Rule: only its subject speaks of an address, what our own handshake proved is never displaced by hearsay, and an
address nobody proved is dialled at most once a minute whoever names it.
"""

from positron.core.addresses.book import AddressBook, Entry
from positron.core.addresses.hosts import (
    group_of,
    host_of,
    is_dialable,
    is_ip,
    is_private,
    join_address,
    parse_bootstrap,
    reach_of,
    split_address,
)

__all__ = [
    "AddressBook",
    "Entry",
    "group_of",
    "host_of",
    "is_dialable",
    "is_ip",
    "is_private",
    "join_address",
    "parse_bootstrap",
    "reach_of",
    "split_address",
]
