#!/bin/sh
# Subversion hook: tells cxmd on this machine to look now. Polling finds the commit too, only later.
# All three streams are let go and nobody is waited for: a child that kept stderr open would hold up
# every commit.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
LANG=C.UTF-8
LC_ALL=C.UTF-8
export PATH LANG LC_ALL

@CXM@ hook post-commit --socket @SOCKET@ "$1" "$2" </dev/null >/dev/null 2>&1 &
exit 0
