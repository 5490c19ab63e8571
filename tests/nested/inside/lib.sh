# What a nested test finds. It runs in an empty directory of its own, as root,
# with /dev/kvm and with network devices and processes of its own; it passes
# when it exits 0, and is skipped with 77. LIB is where this file is, KVIST the
# program, GUESTS the folder of tiny guests, GUEST_TESTS that of their tests,
# TALK what speaks to a control socket, PIECES what follows.
# shellcheck shell=bash disable=SC2034

set -u
KERNEL=$PIECES/vmlinuz		# Debian's cloud kernel, as it was packaged
VMLINUX=$PIECES/vmlinux		# the ELF file in it
DEBIAN=$PIECES/debian.qcow2	# a Debian with systemd

fail() {
	echo "FAILED: $*"
	exit 1
}

# An initrd whose program is the shell script on standard input. Printing is to
# the serial console; `return 3` ends the run with 3, and `return 0` powers the
# machine off.
guest_initrd() { # FILE
	local tree
	tree=$(mktemp -d)
	cat >"$tree/guest"
	cp "$PIECES/guest.cpio.gz" "$1"
	(cd "$tree" && find . | cpio -o -H newc 2>/dev/null) | gzip -1 >>"$1"
	rm -r "$tree"
}

# Runs kvist for at most 150 seconds, its output both to the log and to FILE,
# and insists on the exit status STATUS.
kvist_run() { # STATUS FILE ARGUMENT...
	local want=$1 out=$2 status
	shift 2
	"$KVIST" run --timeout "${LIMIT:-150}" "$@" </dev/null 2>&1 | tee "$out"
	status=${PIPESTATUS[0]}
	[ "$status" = "$want" ] ||
		fail "kvist ended with $status instead of $want"
}

says() { # FILE TEXT
	grep -qF -- "$2" "$1" || fail "the guest did not say: $2"
}

# A bridge with an address of the host's own.
make_bridge() { # NAME ADDRESS/LEN
	ip link add "$1" type bridge
	ip addr add "$2" dev "$1"
	ip link set "$1" up
}

# No tap may be left once the kvist that made it is gone.
no_taps() {
	local left
	left=$(ls -d /sys/class/net/*/tun_flags 2>/dev/null)
	[ -z "$left" ] || fail "a tap was left behind: $left"
}

# A disk of the given size with an ext4 file system that holds one file, /hello.
make_disk() { # RAWFILE SIZE TEXT
	mkdir fs
	echo "$3" >fs/hello
	mke2fs -q -t ext4 -d fs "$1" "$2" 2>&1 | grep -v "^Creating"
	rm -r fs
}

# The content of a file on a disk image, read without a guest and without kvist.
file_on_disk() { # IMAGE PATH [FORMAT]
	qemu-img convert -f "${3-qcow2}" -O raw "$1" read.raw
	debugfs -R "cat $2" read.raw 2>/dev/null
	rm read.raw
}
