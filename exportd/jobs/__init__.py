"""The only layer that starts job tasks: supervisor, runner, hub, retention and the service that ties them together.

May import: core, formats, store, trio.
"""
