"""What the load test is made of: `checks` finds faults (pure functions), `daemon` is the process, `tally` counts and tells."""
