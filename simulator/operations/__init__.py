"""The behaviour of the API's explicit methods. Importing the package declares them all."""

from simulator.operations import (
    alerts,
    base,
    ha,
    host,
    migrate,
    placement,
    power,
    provision,
    recovery,
    resources,
    servers,
    storage,
    suspend,
)

__all__ = [
    "alerts",
    "base",
    "ha",
    "host",
    "migrate",
    "placement",
    "power",
    "provision",
    "recovery",
    "resources",
    "servers",
    "storage",
    "suspend",
]
