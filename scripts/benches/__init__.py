"""What `scripts/bench` is made of. A room is a group of rows: each has its name, its goals, and a function that yields
samples of ours and of what it is held against, in turns. `figures` says what samples are and when a goal is met, `telling`
prints them (both pure); `ground` has the folders, daemons and projects that rows stand on, `projects` and `history` fill
those, `session` and `wire` are users over HTTP; `sampling` runs in a daemon whose slowest places are asked for."""
