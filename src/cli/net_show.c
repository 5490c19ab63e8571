/*
 * `kvist net show`.
 */
#include "cli/net.h"

#include "devices/net/bridge_info.h"
#include "devices/net/netif.h"
#include "util/exit_code.h"
#include "util/json.h"
#include "util/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MAC_TEXT 18

static const char *mac_text(char text[MAC_TEXT], const uint8_t mac[NET_MAC])
{
	snprintf(text, MAC_TEXT, "%02x:%02x:%02x:%02x:%02x:%02x", mac[0],
		 mac[1], mac[2], mac[3], mac[4], mac[5]);
	return text;
}

static const char *name_of(const struct bridge_info *info, int index)
{
	const struct bridge_link *link = bridge_info_find(info, index);

	return link ? link->name : "?";
}

static const char *kind_of(const struct bridge_address *address)
{
	return address->local       ? "local"
	       : address->permanent ? "static"
				    : "learned";
}

static void print_head(void)
{
	printf("%-15s %-5s %6s %-4s %-6s %-17s %s\n", "BRIDGE", "STATE", "MTU",
	       "STP", "VLANS", "MAC", "PORTS");
}

static void print_bridge(const struct bridge_info *info,
			 const struct bridge_link *bridge)
{
	const char *before = "";
	char mac[MAC_TEXT];

	printf("%-15s %-5s %6" PRIu32 " %-4s %-6s %s ", bridge->name,
	       bridge->up ? "up" : "down", bridge->mtu,
	       bridge->stp ? "on" : "off", bridge->filtering ? "on" : "off",
	       mac_text(mac, bridge->mac));
	for (size_t i = 0; i < info->nr_links; i++) {
		if (info->links[i].master != bridge->index)
			continue;
		printf("%s%s", before, info->links[i].name);
		before = ",";
	}
	puts(*before ? "" : "-");
}

/* "10u,20": u where frames leave untagged, * where untagged ones belong. */
static void print_vlans(const struct bridge_link *link)
{
	const char *before = "";

	for (int vlan = 1; vlan <= NET_VLAN_MAX; vlan++) {
		uint8_t is = link->vlans[vlan];

		if (!is)
			continue;
		printf("%s%d%s%s", before, vlan,
		       is & BRIDGE_VLAN_UNTAGGED ? "u" : "",
		       is & BRIDGE_VLAN_PVID ? "*" : "");
		before = ",";
	}
	puts(*before ? "" : "-");
}

static void print_ports(const struct bridge_info *info,
			const struct bridge_link *bridge)
{
	printf("\n%-15s %-10s %6s %s\n", "PORT", "STATE", "MTU", "VLANS");
	for (size_t i = 0; i < info->nr_links; i++) {
		const struct bridge_link *port = &info->links[i];

		if (port->master != bridge->index)
			continue;
		printf("%-15s %-10s %6" PRIu32 " ", port->name,
		       bridge_state_name(port->state), port->mtu);
		print_vlans(port);
	}
}

static void print_addresses(const struct bridge_info *info,
			    const struct bridge_link *bridge)
{
	char mac[MAC_TEXT];

	printf("\n%-17s %-15s %5s %-7s %s\n", "MAC", "PORT", "VLAN", "KIND",
	       "AGE");
	for (size_t i = 0; i < info->nr_addresses; i++) {
		const struct bridge_address *address = &info->addresses[i];

		if (address->bridge != bridge->index)
			continue;
		printf("%s %-15s ", mac_text(mac, address->mac),
		       name_of(info, address->port));
		if (address->vlan)
			printf("%5u ", address->vlan);
		else
			printf("%5s ", "-");
		if (address->permanent)
			printf("%s\n", kind_of(address));
		else
			printf("%-7s %" PRIu64 ".%02u s\n", kind_of(address),
			       address->age_ms / 1000,
			       (unsigned)(address->age_ms % 1000 / 10));
	}
}

static void json_vlans(struct json *json, const struct bridge_link *link)
{
	json_array(json, "vlans");
	for (int vlan = 1; vlan <= NET_VLAN_MAX; vlan++) {
		uint8_t is = link->vlans[vlan];

		if (!is)
			continue;
		json_object(json, NULL);
		json_number(json, "vlan", (unsigned)vlan);
		json_bool(json, "pvid", is & BRIDGE_VLAN_PVID);
		json_bool(json, "untagged", is & BRIDGE_VLAN_UNTAGGED);
		json_end(json);
	}
	json_end(json);
}

static void json_ports(struct json *json, const struct bridge_info *info,
		       const struct bridge_link *bridge)
{
	json_array(json, "ports");
	for (size_t i = 0; i < info->nr_links; i++) {
		const struct bridge_link *port = &info->links[i];

		if (port->master != bridge->index)
			continue;
		json_object(json, NULL);
		json_string(json, "name", port->name);
		json_string(json, "state", bridge_state_name(port->state));
		json_number(json, "mtu", port->mtu);
		json_vlans(json, port);
		json_end(json);
	}
	json_end(json);
}

static void json_addresses(struct json *json, const struct bridge_info *info,
			   const struct bridge_link *bridge)
{
	char mac[MAC_TEXT];

	json_array(json, "fdb");
	for (size_t i = 0; i < info->nr_addresses; i++) {
		const struct bridge_address *address = &info->addresses[i];

		if (address->bridge != bridge->index)
			continue;
		json_object(json, NULL);
		json_string(json, "address", mac_text(mac, address->mac));
		json_string(json, "port", name_of(info, address->port));
		if (address->vlan)
			json_number(json, "vlan", address->vlan);
		json_string(json, "kind", kind_of(address));
		if (!address->permanent)
			json_number(json, "age-ms", address->age_ms);
		json_end(json);
	}
	json_end(json);
}

static void json_bridge(struct json *json, const struct bridge_info *info,
			const struct bridge_link *bridge)
{
	char mac[MAC_TEXT];

	json_object(json, NULL);
	json_string(json, "name", bridge->name);
	json_bool(json, "up", bridge->up);
	json_number(json, "mtu", bridge->mtu);
	json_bool(json, "stp", bridge->stp);
	json_bool(json, "vlan-filtering", bridge->filtering);
	json_string(json, "address", mac_text(mac, bridge->mac));
	json_vlans(json, bridge);
	json_ports(json, info, bridge);
	json_addresses(json, info, bridge);
	json_end(json);
}

/* Calls for each bridge, or for the one of this name; how many there were. */
static size_t show(const struct bridge_info *info, const struct net_args *args,
		   struct json *json)
{
	int index = args->bridge ? netif_index(args->bridge) : 0;
	size_t shown = 0;

	for (size_t i = 0; i < info->nr_links; i++) {
		const struct bridge_link *link = &info->links[i];

		if (!link->is_bridge || (index && link->index != index))
			continue;
		if (args->json) {
			json_bridge(json, info, link);
		} else {
			if (!shown)
				print_head();
			print_bridge(info, link);
			if (args->bridge) {
				print_ports(info, link);
				print_addresses(info, link);
			}
		}
		shown++;
	}
	return shown;
}

int net_show(const struct net_args *args)
{
	struct bridge_info info;
	struct json json;
	size_t shown;
	int err = bridge_info_read(&info);

	if (err) {
		log_err("net show: cannot ask the kernel for its bridges: %s",
			strerror(-err));
		return EXIT_CODE_HOST;
	}
	if (args->json) {
		json_init(&json, stdout);
		json_array(&json, NULL);
	}
	shown = show(&info, args, &json);
	if (args->json)
		json_end(&json);
	bridge_info_free(&info);
	if (shown || !args->bridge)
		return EXIT_CODE_OK;
	log_err("net show: %s: there is no such bridge; kvist net show lists "
		"them",
		args->bridge);
	return EXIT_CODE_HOST;
}
