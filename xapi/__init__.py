"""Speaks XenAPI: sessions, events, records into `Observed`, error codes into answers."""
