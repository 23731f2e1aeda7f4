"""What the service is for: accounts, snapshots, events, and their streams."""
