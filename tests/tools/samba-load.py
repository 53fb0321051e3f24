"""Adds an LDIF to a domain's database through Samba's own modules, which fill in ids and links, while no server
runs on it: in one transaction.

usage: samba-load.py SMB_CONF SAM_LDB LDIF   (by the Python that has Samba's modules, /usr/bin/python3)
"""

import sys

from samba.auth import system_session
from samba.param import LoadParm
from samba.samdb import SamDB

lp = LoadParm()
lp.load(sys.argv[1])
db = SamDB(url=sys.argv[2], session_info=system_session(lp), lp=lp)
with open(sys.argv[3], encoding="utf-8") as ldif:
    entries = ldif.read()
db.transaction_start()
for _, entry in db.parse_ldif(entries):
    db.add(entry)
db.transaction_commit()
