"""Keeping this process in memory: one that is paged out is silent, and silence is taken for death."""

from __future__ import annotations

import ctypes
import gc
import os
import resource

from membership.edge import log

_CURRENT, _FUTURE, _ON_FAULT = 1, 2, 4


def pin() -> None:
    """Whatever is in memory stays there; what is never used is not fetched. Told where refused.

    Priority and the score of the memory killer are the unit's business.
    """
    bound, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if bound != resource.RLIM_INFINITY and os.geteuid() != 0:
        # Within a bound it might be granted now, and every later allocation be refused.
        log.warning("not-pinned", message="LimitMEMLOCK is not infinity; this may be paged out")
        return
    library = ctypes.CDLL(None, use_errno=True)
    # What starting up has left behind would be pinned with the rest.
    gc.collect()
    library.malloc_trim(0)
    if library.mlockall(_CURRENT | _FUTURE | _ON_FAULT) != 0:
        why = os.strerror(ctypes.get_errno())
        log.warning("not-pinned", message=f"{why}; this may be paged out")
