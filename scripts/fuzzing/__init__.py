"""What `scripts/fuzz` and the tests fuzz: `targets` are functions of bytes, `api` is the whole HTTP interface."""
