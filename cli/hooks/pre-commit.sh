#!/bin/sh
# Subversion hook: refuses a commit that makes a cluster invalid, with the text of `cxm validate`,
# and one that goes beyond the cluster's limits without the line that says so.
# Hooks run with an empty environment: every path here is absolute.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
LANG=C.UTF-8
LC_ALL=C.UTF-8
export PATH LANG LC_ALL

exec @CXM@ hook pre-commit --repository "$1" --transaction "$2"
