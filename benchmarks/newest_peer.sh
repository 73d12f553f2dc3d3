#!/bin/bash
# The suite beside the newest Orthanc, nginx and PostgreSQL that Debian has (sid), with Debian's newest Python, whatever runs here.
#
#     sudo benchmarks/newest_peer.sh FOLDER [arguments of python -m benchmarks]
#
# FOLDER becomes a small Debian of its own (debootstrap, 2 GB), and is used again the next time. What is measured is the last commit.
set -euo pipefail

root=$(realpath -m "${1:?the folder for Debian is not named}")
shift
project=$(cd "$(dirname "$0")/.." && pwd)

[ "$(id -u)" = 0 ] || { echo "only root may do this" >&2; exit 1; }
[ -x "$root/usr/bin/apt-get" ] || debootstrap --variant=minbase --include=ca-certificates sid "$root"

# The servers are started by the suite alone.
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod +x "$root/usr/sbin/policy-rc.d"
cp /etc/resolv.conf /etc/hosts "$root/etc/"
# As this machine reaches package registries.
for file in /etc/ssl/certs/ca-certificates.crt /etc/pip.conf "$HOME/.config/pip/pip.conf"; do
    [ -f "$file" ] && install -D "$file" "$root$file"
done

mounted=()
unmount() { for one in "${mounted[@]}"; do umount --recursive --lazy "$root/$one"; done; }
trap unmount EXIT
for one in proc dev sys; do
    mount --rbind --make-rslave "/$one" "$root/$one"
    mounted+=("$one")
done

inside() { chroot "$root" /usr/bin/env HOME="$HOME" DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"; }
inside apt-get update -q -o Acquire::Check-Valid-Until=false # a mirror may be weeks behind
inside apt-get install -y -q --no-install-recommends \
    orthanc orthanc-dicomweb orthanc-postgresql nginx wrk postgresql python3 python3-venv make git procps
inside Orthanc --version | sed -n 1p # head would end it with SIGPIPE

mkdir -p "$root/srv/gantry"
find "$root/srv/gantry" -mindepth 1 -maxdepth 1 ! -name .venv ! -name build -exec rm -rf {} +
git -C "$project" archive HEAD | tar -x -C "$root/srv/gantry"
inside make -C /srv/gantry install
inside make -C /srv/gantry bench BENCH="$*"
echo "JSON: $root/srv/gantry/build/benchmarks.json"
