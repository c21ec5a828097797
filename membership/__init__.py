"""Who is alive, who may act, and what the peers know together."""
