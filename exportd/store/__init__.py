"""Blocking disk and database work, callable from a thread: journal, catalogue, sources, artifacts, importers.

May import: core, errors, settings. Not formats, not trio but for `from_thread.check_cancelled` passed in by the caller.
"""
