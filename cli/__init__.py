"""The `wakeline` command: everything people type; `main.main` is its entry point."""
