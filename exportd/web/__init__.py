"""HTTP, WebSocket and SSE: parse, call the service, map errors by one table. Decides nothing about states.

May import: jobs and all below. Not client.
"""
