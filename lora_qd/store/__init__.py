"""Disk: PEFT adapter directories, run directories, the ledger.

Knows no engine and no skill. Everything is written beside, synced and renamed.
"""
