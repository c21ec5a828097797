"""The pure core of cxm (diff, plan, journal, status) and, below `edge/`, its hands."""
