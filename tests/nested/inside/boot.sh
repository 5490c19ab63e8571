# The test that boots a stock kernel with all that a machine may have: two
# disks, one qcow2 with a backing file and one raw, and two NICs on one bridge.
# shellcheck shell=bash

# Private KiB of a process, without what is mapped for the guest: kvist keeps
# that, and nothing else, out of core dumps (the flag dd).
own_memory() { # PID
	awk '/^[0-9a-f]+-/ { private = 0; name = $0 }
		/^Private_(Clean|Dirty):/ { private += $2 }
		/^VmFlags:/ && !/ dd / {
			sum += private
			if (private > 500)
				large = large "\n" private " KiB: " name
		}
		END { print sum " KiB" large }' "/proc/$1/smaps"
}

boot_everything() { # CPUS TRANSPORT KERNEL
	local cpus=$1 transport=$2 kernel=$3

	make_disk base.raw 48M "from the backing file"
	qemu-img convert -O qcow2 base.raw base.qcow2
	qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 root.qcow2
	make_disk data.raw 32M "from the raw disk"
	make_bridge br0 192.0.2.1/24

	guest_initrd initrd <<-'END'
	check() {
		echo "check: $*"
		"$@" || { echo "guest: check failed: $*"; exit-port 1; }
	}
	# Each NIC answers for its own address only, though both are on one
	# network.
	echo 1 >/proc/sys/net/ipv4/conf/all/arp_ignore
	echo 2 >/proc/sys/net/ipv4/conf/all/arp_announce
	echo "cpus: $(nproc), virtio: $(ls /sys/bus/virtio/devices | wc -l)"
	check mount -t ext4 /dev/vda /mnt
	check grep -q "from the backing file" /mnt/hello
	mkdir /data
	check mount -t ext4 /dev/vdb /data
	check grep -q "from the raw disk" /data/hello
	check ifconfig eth0 192.0.2.2 up
	check ifconfig eth1 192.0.2.3 up
	check ping -c 2 -W 5 -I eth0 192.0.2.1
	check ping -c 2 -W 5 -I eth1 192.0.2.1
	echo "eth0: $(cat /sys/class/net/eth0/address)"
	echo "eth1: $(cat /sys/class/net/eth1/address)"
	check dd if=/dev/urandom of=/mnt/random bs=64k count=64 2>/dev/null
	check dd if=/dev/hwrng of=/dev/null bs=64 count=1 2>/dev/null
	check cp /mnt/random /data/random
	echo "sum: $(md5sum </mnt/random)"
	check test "$(date +%Y)" -ge 2024
	echo written by the guest >/mnt/written
	check sync
	check umount /mnt /data
	# The host looks at the bridge while the guest still stands on it.
	sleep 2
	return 0
	END

	# What there is to see while the guest runs: it waits two seconds.
	(
		# The bridge has learnt the guest's addresses once both pings
		# are through.
		for _ in $(seq 300); do
			grep -q "^sum:" log 2>/dev/null && break
			sleep 0.2
		done
		bridge fdb show br br0 >fdb
		ls -d /sys/class/net/br0/brif/* >ports
		own_memory "$(pidof kvist)" >memory
	) &
	kvist_run 0 log --kernel "$kernel" --initrd initrd \
		--cpus "$cpus" --memory 256M --transport "$transport" \
		--append "console=ttyS0 quiet panic=-1" \
		--disk root.qcow2 --disk data.raw,format=raw \
		--net bridge=br0 --net bridge=br0
	wait

	says log "cpus: $cpus, virtio: 5"
	says log "sum: "
	tr -d '\r' <log >clean
	for nic in eth0 eth1; do
		mac=$(sed -n "s/^$nic: //p" clean)
		grep -q "$mac" fdb ||
			fail "the bridge did not learn $nic's address, $mac"
	done
	[ "$(wc -l <ports)" = 2 ] ||
		fail "the bridge had these ports: $(cat ports)"
	no_taps
	echo "private memory without the guest's: $(cat memory)"
	[ "$(sed '1s/ .*//;q' memory)" -le 3072 ] ||
		fail "the hypervisor takes more than 3 MiB"

	qemu-img check root.qcow2 || fail "qemu-img check of root.qcow2"
	[ "$(file_on_disk root.qcow2 /written)" = "written by the guest" ] ||
		fail "the file that the guest wrote is not on root.qcow2"
	[ "$(file_on_disk root.qcow2 /hello)" = "from the backing file" ] ||
		fail "the backing file's content is not seen through root.qcow2"
	sum=$(sed -n 's/^sum: //p' clean)
	[ "$(file_on_disk root.qcow2 /random | md5sum)" = "$sum" ] ||
		fail "what the guest wrote differs on root.qcow2"
	[ "$(file_on_disk data.raw /random raw | md5sum)" = "$sum" ] ||
		fail "what the guest wrote differs on data.raw"
	qemu-img compare -f qcow2 -F raw base.qcow2 base.raw ||
		fail "the backing file was changed"
}
