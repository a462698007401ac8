"""The formats: pure generators from a dataset to archive members, and the archive's own form.

May import: core, errors. Not store (files and databases), not trio, no clock, no paths of the server.
"""
