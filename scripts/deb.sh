#!/usr/bin/env bash
# Builds a Debian package, target/debian/vpcctl_VERSION_ARCHITECTURE.deb, of what scripts/install.sh installs. It needs
# dpkg-deb and binutils, and no root.
set -euo pipefail
cd "$(dirname "$0")/.."
umask 022

# field NAME: a field of the package in Cargo.toml.
field() {
    sed -n "/^\\[package\\]/,/^\\[/s/^$1 = [\"[]*\\([^\"]*\\)\".*/\\1/p" Cargo.toml
}

version=$(field version) license=$(field license)
# Who builds a package answers for it: the variables of Debian's own tools, else what git knows.
maintainer="${DEBFULLNAME:-$(field authors)} <${DEBEMAIL:-$(git config user.email 2>/dev/null || echo root@localhost)}>"
architecture=$(dpkg --print-architecture)
target=${CARGO_TARGET_DIR:-target}/debian
package=$target/vpcctl_${version}_$architecture.deb
# The same program makes the same package, to the byte.
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)}
export SOURCE_DATE_EPOCH
date=$(date -u -R -d "@$SOURCE_DATE_EPOCH")

mkdir -p "$target"
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT
chmod 755 "$stage"
doc=$stage/usr/share/doc/vpcctl

DESTDIR=$stage PREFIX=/usr scripts/install.sh 2>&1 | { grep -v '^installed ' >&2 || true; }

# Where Debian wants things that other systems have elsewhere. dpkg keeps a list of its own.
rm "$stage/usr/share/vpcctl/installed" "$doc"/LICENSE-*
mkdir "$stage/usr/share/zsh/vendor-completions"
mv "$stage/usr/share/zsh/site-functions/_vpcctl" "$stage/usr/share/zsh/vendor-completions/"
rmdir "$stage/usr/share/zsh/site-functions"
gzip -9n "$stage"/usr/share/man/man1/*.1

cat >"$doc/copyright" <<END
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: vpcctl

Files: *
Copyright: $(sed -n 's/^Copyright (c) //p' LICENSE-MIT)
License: ${license/ OR / or }

License: Apache-2.0
 On Debian systems the full text of the Apache License, version 2.0, is in /usr/share/common-licenses/Apache-2.0.

License: MIT
$(sed -e 1,4d -e 's/^$/./' -e 's/^/ /' LICENSE-MIT)
END
gzip -9n >"$doc/changelog.gz" <<END
vpcctl ($version) unstable; urgency=medium

  * What changed is told in CHANGELOG.md, beside this file.

 -- $maintainer  $date
END

# The oldest C library that has what the program asks of it.
libc=$(readelf --version-info --wide "$stage/usr/bin/vpcctl" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1)
mkdir "$stage/DEBIAN"
(cd "$stage" && find usr -type f -print0 | sort -z | xargs -0 md5sum) >"$stage/DEBIAN/md5sums"
cat >"$stage/DEBIAN/control" <<END
Package: vpcctl
Version: $version
Architecture: $architecture
Maintainer: $maintainer
Section: net
Priority: optional
Installed-Size: $(du -sk --apparent-size "$stage/usr" | cut -f1)
Depends: libc6 (>= ${libc#GLIBC_}), libgcc-s1 (>= 4.2), init-system-helpers (>= 1.54~), iproute2 (>= 5.18), ipset, iptables (>= 1.8)
Recommends: iputils-ping, kmod, nftables, systemd
Suggests: bash-completion, conntrack
Description: virtual private clouds on one Linux host
 vpcctl builds VPCs with public and private subnets, internet access by NAT,
 routed peering and firewall policies out of what the kernel has: network
 namespaces, bridges, veth pairs, routes and iptables. It keeps no daemon.
 .
 It is for learning how a cloud network works, and for tests that need one.
 "vpcctl sandbox" needs no privilege and leaves the host as it is.
END
cp scripts/debian/* "$stage/DEBIAN/"
chmod 755 "$stage"/DEBIAN/{postinst,prerm,postrm}

dpkg-deb --root-owner-group --build "$stage" "$package" >/dev/null
echo "$package"
