#!/usr/bin/env python3
"""Copies the ledger of a Bank Vault, also beside a running server:  backup.py DATA DESTINATION

DESTINATION must not exist. The copy holds every operation that was acknowledged before the copying began. It is a data directory: check
it with `vaultctl audit --data DESTINATION`; a server can start on it.

The order of copying makes the copy correct. Snapshots come first: what a snapshot shows is in the journal already, which is copied later.
The journal is copied from its newest bytes to its oldest. Records are only added at its end, so when a record is in the copy, those before
it were written before their bytes were read. A copy made forwards could lack records in front of later ones.
"""
import os
import shutil
import sys

PAGE = 4096  # a record never crosses a page, and a page is read whole


def copy_backwards(source, destination):
    with open(source, 'rb') as old, open(destination, 'xb') as new:
        size = os.fstat(old.fileno()).st_size
        os.truncate(new.fileno(), size)
        for at in range((size - 1) // PAGE * PAGE, -1, -PAGE):
            page = os.pread(old.fileno(), PAGE, at)
            if page.strip(b'\0'):  # pages that were never written stay holes
                os.pwrite(new.fileno(), page, at)
        os.fsync(new.fileno())


def main(data, destination):
    os.umask(0o077)
    os.mkdir(destination)
    for folder in ('snapshot', 'journal'):
        os.mkdir(os.path.join(destination, folder))
    shutil.copy(os.path.join(data, 'format'), destination)
    if os.path.exists(os.path.join(data, 'openings')):  # it is never written again
        shutil.copy(os.path.join(data, 'openings'), destination)
    for name in sorted(os.listdir(os.path.join(data, 'snapshot')), reverse=True):
        if name.endswith('.snapshot'):
            shutil.copy(os.path.join(data, 'snapshot', name), os.path.join(destination, 'snapshot'))
    for name in sorted(os.listdir(os.path.join(data, 'journal')), reverse=True):
        if name.endswith('.segment'):
            copy_backwards(os.path.join(data, 'journal', name), os.path.join(destination, 'journal', name))
    os.sync()


if __name__ == '__main__':
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except FileNotFoundError as gone:
        # The server removes segments that no snapshot needs.
        sys.exit(f'{gone}: the server removed it meanwhile; remove {sys.argv[2]} and begin again')
    except OSError as error:
        sys.exit(str(error))
