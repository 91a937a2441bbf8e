# SPDX-License-Identifier: MIT
# To be sourced in a throw-away machine: goes to a copy of the working directory. The root file system there is an overlay, which an
# overlay cannot have for its upper layer, and which maps no owners.
mount -t tmpfs -o mode=755 tmpfs /opt
mkdir /opt/casulo
find . -mindepth 1 -maxdepth 1 ! -name .git -exec cp -r {} /opt/casulo/ \;
cd /opt/casulo
mount -t tmpfs -o mode=1777 tmpfs /tmp
eval "$(make -s env)"
unset XDG_RUNTIME_DIR
