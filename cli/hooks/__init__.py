"""What the hooks of a Subversion repository do: read a transaction, judge it, tell the daemon."""
