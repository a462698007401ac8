"""What `scripts/faults` is made of. `operations` counts what is done to files and lets something happen at one of them, with
`vfs` for what SQLite does; `scenes` are what goes on meanwhile; `promises` says what must hold afterwards (pure functions);
`crashes`, `failures`, `kills` and `machine` are the sweeps; `children` runs each point in a process of its own."""
