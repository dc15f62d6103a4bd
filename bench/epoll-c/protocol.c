/* Requests with their accept key, frames, and UTF-8 (RFC 6455 and RFC 3629). */
#define _GNU_SOURCE
#include "protocol.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* ---- the accept key (RFC 6455 section 4.2.2) ---- */

static uint32_t rotated(uint32_t word, unsigned by)
{
	return word << by | word >> (32 - by);
}

static uint32_t big_endian_32(const unsigned char *at)
{
	return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

/* One block of SHA-1 (RFC 3174 section 6.1). */
static void sha1_block(uint32_t state[5], const unsigned char block[64])
{
	uint32_t w[80];
	for (int t = 0; t < 16; t++)
		w[t] = big_endian_32(block + 4 * t);
	for (int t = 16; t < 80; t++)
		w[t] = rotated(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
	uint32_t a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
	for (int t = 0; t < 80; t++) {
		uint32_t f, k;
		if (t < 20)
			f = (b & c) | (~b & d), k = 0x5a827999;
		else if (t < 40)
			f = b ^ c ^ d, k = 0x6ed9eba1;
		else if (t < 60)
			f = (b & c) | (b & d) | (c & d), k = 0x8f1bbcdc;
		else
			f = b ^ c ^ d, k = 0xca62c1d6;
		uint32_t next = rotated(a, 5) + f + e + k + w[t];
		e = d, d = c, c = rotated(b, 30), b = a, a = next;
	}
	state[0] += a, state[1] += b, state[2] += c, state[3] += d, state[4] += e;
}

enum { KEY_BYTES = 24, DIGEST_BYTES = 20, ACCEPT_BYTES = 28 };
#define KEY_SUFFIX "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

/* Key and suffix are 60 bytes, so that with their padding they are exactly two blocks. */
static void key_digest(const char *key, unsigned char digest[DIGEST_BYTES])
{
	unsigned char blocks[128] = {0};
	const size_t bytes = KEY_BYTES + sizeof KEY_SUFFIX - 1;
	memcpy(blocks, key, KEY_BYTES);
	memcpy(blocks + KEY_BYTES, KEY_SUFFIX, sizeof KEY_SUFFIX - 1);
	blocks[bytes] = 0x80;
	blocks[126] = (unsigned char)(bytes * 8 >> 8);
	blocks[127] = (unsigned char)(bytes * 8);
	uint32_t state[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
	sha1_block(state, blocks);
	sha1_block(state, blocks + 64);
	for (int at = 0; at < DIGEST_BYTES; at++)
		digest[at] = (unsigned char)(state[at / 4] >> (24 - 8 * (at % 4)));
}

static const char BASE64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/* Encodes 20 bytes; the last group of three lacks one byte. */
static void accept_key(const char *key, char accept[ACCEPT_BYTES + 1])
{
	unsigned char digest[DIGEST_BYTES + 1] = {0};
	key_digest(key, digest);
	for (int group = 0; group < 7; group++) {
		const unsigned char *three = digest + 3 * group;
		uint32_t bits = (uint32_t)three[0] << 16 | (uint32_t)three[1] << 8 | three[2];
		for (int letter = 0; letter < 4; letter++)
			accept[4 * group + letter] = BASE64[bits >> (18 - 6 * letter) & 63];
	}
	accept[ACCEPT_BYTES - 1] = '=';
	accept[ACCEPT_BYTES] = 0;
}

/* Whether this is base64 of 16 bytes: 22 letters, of which the last carries two bits, and two
 * padding characters. */
static bool is_key(const char *value, size_t bytes)
{
	if (bytes != KEY_BYTES || memcmp(value + 22, "==", 2) != 0)
		return false;
	for (int at = 0; at < 22; at++)
		if (value[at] == 0 || !strchr(BASE64, value[at]))
			return false;
	return strchr("AQgw", value[21]) != NULL;
}

/* ---- requests ---- */

/* A range of bytes in the head. */
struct text {
	const char *at;
	size_t bytes;
};

static bool equals(struct text text, const char *word)
{
	return text.bytes == strlen(word) && strncasecmp(text.at, word, text.bytes) == 0;
}

static struct text trimmed(struct text text)
{
	while (text.bytes > 0 && strchr(" \t", text.at[text.bytes - 1]) && text.at[text.bytes - 1])
		text.bytes--;
	while (text.bytes > 0 && (*text.at == ' ' || *text.at == '\t'))
		text.at++, text.bytes--;
	return text;
}

/* Cuts `rest` at the first `sign`, and returns the part before it. */
static struct text cut(struct text *rest, char sign)
{
	const char *found = memchr(rest->at, sign, rest->bytes);
	struct text before = {rest->at, found ? (size_t)(found - rest->at) : rest->bytes};
	size_t gone = before.bytes + (found != NULL);
	rest->at += gone;
	rest->bytes -= gone;
	return before;
}

static bool lists(struct text value, const char *word)
{
	while (value.bytes > 0)
		if (equals(trimmed(cut(&value, ',')), word))
			return true;
	return false;
}

/* The fields of a head that an upgrade needs (RFC 6455 section 4.2.1). */
struct fields {
	bool is_well_formed, has_host, upgrades, connection_upgrades, is_version_13;
	struct text key;
};

static struct fields read_fields(struct text lines)
{
	struct fields fields = {.is_well_formed = true};
	while (lines.bytes > 0) {
		struct text value = trimmed(cut(&lines, '\n'));
		if (value.bytes > 0 && value.at[value.bytes - 1] == '\r')
			value.bytes--;
		if (value.bytes == 0)
			break;
		bool has_colon = memchr(value.at, ':', value.bytes) != NULL;
		struct text name = cut(&value, ':');
		value = trimmed(value);
		if (!has_colon || name.bytes == 0 || name.bytes != trimmed(name).bytes)
			fields.is_well_formed = false;
		else if (equals(name, "host"))
			fields.has_host = true;
		else if (equals(name, "upgrade"))
			fields.upgrades |= lists(value, "websocket");
		else if (equals(name, "connection"))
			fields.connection_upgrades |= lists(value, "upgrade");
		else if (equals(name, "sec-websocket-version"))
			fields.is_version_13 = equals(value, "13");
		else if (equals(name, "sec-websocket-key") && fields.key.at)
			fields.is_well_formed = false;
		else if (equals(name, "sec-websocket-key"))
			fields.key = value;
	}
	return fields;
}

static enum route route_of(struct text path, struct request *request)
{
	static const char ROOMS[] = "/rooms/";
	const size_t prefix = sizeof ROOMS - 1;
	if (path.bytes == 5 && memcmp(path.at, "/echo", 5) == 0)
		return ROUTE_ECHO;
	if (path.bytes <= prefix || memcmp(path.at, ROOMS, prefix) != 0)
		return ROUTE_REFUSED;
	request->room = path.at + prefix;
	request->room_bytes = path.bytes - prefix;
	return memchr(request->room, '/', request->room_bytes) ? ROUTE_REFUSED : ROUTE_ROOM;
}

static void refuse(struct request *request, const char *status, const char *more)
{
	request->route = ROUTE_REFUSED;
	snprintf(request->answer, sizeof request->answer,
		 "HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: 0\r\n%s\r\n", status, more);
}

bool read_request(const unsigned char *bytes, size_t count, struct request *request)
{
	const unsigned char *end = memmem(bytes, count, "\r\n\r\n", 4);
	size_t head = end ? (size_t)(end - bytes) + 4 : count;
	if (!end && count < REQUEST_BYTES_MAX)
		return false;
	request->bytes = head;
	if (head > REQUEST_BYTES_MAX || !end) {
		refuse(request, "431 Request Header Fields Too Large", "");
		return true;
	}
	struct text rest = {(const char *)bytes, head};
	struct text line = cut(&rest, '\n');
	struct text method = cut(&line, ' '), target = cut(&line, ' ');
	struct text path = cut(&target, '?');
	struct fields fields = read_fields(rest);
	request->route = route_of(path, request);
	if (!equals(line, "HTTP/1.1\r") || !fields.is_well_formed || !fields.has_host)
		refuse(request, "400 Bad Request", "");
	else if (request->route == ROUTE_REFUSED)
		refuse(request, "404 Not Found", "");
	else if (!equals(method, "GET"))
		refuse(request, "405 Method Not Allowed", "Allow: GET\r\n");
	else if (!fields.upgrades || !fields.connection_upgrades)
		refuse(request, "426 Upgrade Required", "Upgrade: websocket\r\n");
	else if (!fields.is_version_13)
		refuse(request, "426 Upgrade Required", "Sec-WebSocket-Version: 13\r\n");
	else if (!fields.key.at || !is_key(fields.key.at, fields.key.bytes))
		refuse(request, "400 Bad Request", "");
	else {
		char accept[ACCEPT_BYTES + 1];
		accept_key(fields.key.at, accept);
		snprintf(request->answer, sizeof request->answer,
			 "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n"
			 "Connection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n", accept);
	}
	return true;
}

/* ---- frames (RFC 6455 section 5.2) ---- */

static uint64_t big_endian(const unsigned char *at, size_t bytes)
{
	uint64_t value = 0;
	for (size_t byte = 0; byte < bytes; byte++)
		value = value << 8 | at[byte];
	return value;
}

/* Eight bytes at a time, which compilers turn into vectors. */
static void unmask(unsigned char *payload, size_t count, const unsigned char key[4])
{
	uint64_t word, keys;
	memcpy(&keys, key, 4);
	memcpy((unsigned char *)&keys + 4, key, 4);
	size_t at = 0;
	for (; at + 8 <= count; at += 8) {
		memcpy(&word, payload + at, 8);
		word ^= keys;
		memcpy(payload + at, &word, 8);
	}
	for (; at < count; at++)
		payload[at] ^= key[at % 4];
}

/* The number of length bytes behind the first two bytes of a frame. */
static size_t length_bytes(unsigned char second)
{
	switch (second & 127) {
	case 126: return 2;
	case 127: return 8;
	default: return 0;
	}
}

static bool breaks_a_rule(const unsigned char *bytes)
{
	unsigned opcode = bytes[0] & 15;
	bool is_control = opcode >= 8;
	bool is_known = opcode <= BINARY || (opcode >= CLOSE && opcode <= PONG);
	bool is_masked = bytes[1] & 128;
	bool has_reserved_bits = bytes[0] & 0x70;
	bool is_control_in_parts = is_control && (!(bytes[0] & 128) || (bytes[1] & 127) > CONTROL_BYTES_MAX);
	return !is_known || !is_masked || has_reserved_bits || is_control_in_parts;
}

int read_frame(unsigned char *bytes, size_t count, struct frame *frame)
{
	if (count < 2)
		return FRAME_INCOMPLETE;
	if (breaks_a_rule(bytes))
		return PROTOCOL_ERROR;
	size_t extended = length_bytes(bytes[1]);
	size_t header = 2 + extended + 4;
	if (count < 2 + extended)
		return FRAME_INCOMPLETE;
	uint64_t payload_bytes = extended ? big_endian(bytes + 2, extended) : bytes[1] & 127u;
	/* RFC 6455 requires the shortest form, and a zero as the first bit of the eight-byte form. */
	if ((extended == 2 && payload_bytes < 126) || (extended == 8 && payload_bytes < 65536) ||
	    payload_bytes >> 63)
		return PROTOCOL_ERROR;
	if (payload_bytes > MESSAGE_BYTES_MAX)
		return MESSAGE_TOO_LONG;
	if (count < header + payload_bytes)
		return FRAME_INCOMPLETE;
	frame->bytes = header + payload_bytes;
	frame->is_last = bytes[0] & 128;
	frame->opcode = bytes[0] & 15;
	frame->payload = bytes + header;
	frame->payload_bytes = payload_bytes;
	unmask(frame->payload, payload_bytes, bytes + header - 4);
	return FRAME_WHOLE;
}

size_t write_header(unsigned char *header, enum opcode opcode, size_t payload_bytes)
{
	header[0] = (unsigned char)(128 | opcode);
	size_t extended = payload_bytes < 126 ? 0 : payload_bytes < 65536 ? 2 : 8;
	header[1] = (unsigned char)(extended == 0 ? payload_bytes : extended == 2 ? 126 : 127);
	for (size_t at = 0; at < extended; at++)
		header[2 + at] = (unsigned char)((uint64_t)payload_bytes >> 8 * (extended - 1 - at));
	return 2 + extended;
}

size_t own_frame_bytes(const unsigned char *frames)
{
	size_t extended = length_bytes(frames[1]);
	return 2 + extended + (extended ? big_endian(frames + 2, extended) : frames[1]);
}

/* ---- text (RFC 3629) ---- */

/* The length of the character at `text` in bytes, or 0 if it is malformed. */
static size_t letter_bytes(const unsigned char *text, size_t count)
{
	unsigned char first = text[0];
	/* The range of the second byte excludes overlong forms, surrogates, and code points above U+10FFFF. */
	unsigned char least = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
	unsigned char most = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
	size_t length = first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
	if (length == 0 || length > count)
		return 0;
	if (length > 1 && (text[1] < least || text[1] > most))
		return 0;
	for (size_t at = 2; at < length; at++)
		if ((text[at] & 0xc0) != 0x80)
			return 0;
	return length;
}

bool is_utf8(const unsigned char *text, size_t count)
{
	size_t at = 0;
	while (at < count) {
		uint64_t word;
		while (at + 8 <= count) { /* ASCII, eight at a time */
			memcpy(&word, text + at, 8);
			if (word & 0x8080808080808080)
				break;
			at += 8;
		}
		if (at == count)
			break;
		size_t length = letter_bytes(text + at, count - at);
		if (length == 0)
			return false;
		at += length;
	}
	return true;
}

bool is_close_payload(const unsigned char *payload, size_t count)
{
	if (count < 2)
		return count == 0;
	unsigned code = payload[0] << 8 | payload[1];
	bool is_defined = code >= 1000 && code <= 1014 && code != 1004 && code != 1005 && code != 1006;
	bool is_private = code >= 3000 && code <= 4999;
	return (is_defined || is_private) && is_utf8(payload + 2, count - 2);
}
