"""Socket.IO 4 (Engine.IO 4 below it) beside `/ws`: the same feeds for clients that speak nothing else.

From the inside out: `packets` reads and writes texts; `session` is one client, whatever carries its packets;
`conversation` is what is said in it; `engine` owns the sessions and their tasks; `line` carries packets over a WebSocket;
`views` are the address `/socket.io/`.

Events wait in the session's feed alone and are taken when they can leave: so the gate of a cancel, the merging of progress
and the bound of what waits are the feed's own here, too.
"""
