"""exportd: annotated image projects become archives, in background jobs whose cancel is final.

The house, by layer; a module imports its own number or lower, never higher:

0  errors, settings       the error tree; one table of settings
1  core                   states, registry, events, dataset, geometry: no I/O, no clock, no trio, no web
2  formats, store         pure generators of archive members; blocking disk and database work
3  jobs                   the only layer that starts job tasks: supervisor, runner, hub, retention, service
4  web, client            HTTP, WebSocket and SSE on top of the service; a client of a running daemon
5  daemon                 composition root: service, server, signals
6  cli                    commands and exit codes
"""

__version__ = "0.1.0"
