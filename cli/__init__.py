"""The commands of people: they look, propose, wait and grant; the daemon alone acts."""
