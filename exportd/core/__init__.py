"""The core: values, the state machine, the registry, events, geometry. No I/O, no clock, no trio, no web.

May import: errors, settings, the standard library, numpy, shapely, pydantic.
"""
