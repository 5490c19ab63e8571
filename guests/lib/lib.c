#include "guests/lib/lib.h"
#include "guests/lib/acpi.h"
#include "guests/lib/boot.h"

#include <stdarg.h>

#define SERIAL 0x3f8
#define LSR    (SERIAL + 5)
#define THRE   0x20
#define FIFO   16

static int print_lock;

void *memcpy(void *to, const void *from, size_t size)
{
	void *start = to;

	size_t words = size / 8, rest = size % 8;

	__asm__ volatile("rep movsq\n\tmovq %3, %%rcx\n\trep movsb"
			 : "+D"(to), "+S"(from), "+c"(words)
			 : "r"(rest)
			 : "memory");
	return start;
}

void *memset(void *to, int byte, size_t size)
{
	void *start = to;
	size_t words = size / 8, rest = size % 8;
	uint64_t pattern = (uint8_t)byte * 0x0101010101010101ul;

	/* Where each instruction is emulated, each step of a string counts. */
	__asm__ volatile("rep stosq\n\tmovq %2, %%rcx\n\trep stosb"
			 : "+D"(to), "+c"(words)
			 : "r"(rest), "a"(pattern)
			 : "memory");
	return start;
}

int memcmp(const void *a, const void *b, size_t size)
{
	const uint8_t *x = a, *y = b;

	for (size_t i = 0; i < size; i++)
		if (x[i] != y[i])
			return x[i] - y[i];
	return 0;
}

size_t strlen(const char *text)
{
	size_t length = 0;

	while (text[length])
		length++;
	return length;
}

static void serial_write(const char *text, size_t size)
{
	static bool fifo;

	if (!fifo) {
		outb(SERIAL + 2, 1);
		fifo = true;
	}
	for (size_t done = 0; done < size;) {
		size_t n = size - done < FIFO ? size - done : FIFO;

		while (!(inb(LSR) & THRE))
			cpu_pause();
		outsb(SERIAL, text + done, n);
		done += n;
	}
}

struct line {
	char text[256];
	size_t size;
};

static void put(struct line *line, char c)
{
	if (line->size < sizeof(line->text))
		line->text[line->size++] = c;
}

static void put_number(struct line *line, uint64_t value, unsigned base,
		       bool negative, int width, char pad)
{
	char digits[20];
	int n = 0;

	do {
		digits[n++] = "0123456789abcdef"[value % base];
		value /= base;
	} while (value);
	width -= n + negative;
	if (negative && pad == '0')
		put(line, '-');
	while (width-- > 0)
		put(line, pad);
	if (negative && pad != '0')
		put(line, '-');
	while (n)
		put(line, digits[--n]);
}

/* One conversion, after its '%'; what comes after it. */
static const char *convert(struct line *line, const char *format, va_list *args)
{
	char pad = ' ';
	int width = 0;
	bool is_long = false, negative = false;
	uint64_t value;

	if (*format == '0')
		pad = *format++;
	while (*format >= '0' && *format <= '9')
		width = width * 10 + *format++ - '0';
	while (*format == 'l') {
		is_long = true;
		format++;
	}
	switch (*format) {
	case 's':
		for (const char *s = va_arg(*args, const char *); *s; s++)
			put(line, *s);
		break;
	case 'c':
		put(line, (char)va_arg(*args, int));
		break;
	case 'd':
		value = is_long ? va_arg(*args, uint64_t)
				: (uint64_t)va_arg(*args, int);
		negative = (int64_t)value < 0;
		put_number(line, negative ? -value : value, 10, negative, width,
			   pad);
		break;
	case 'u':
	case 'x':
		value = is_long ? va_arg(*args, uint64_t)
				: va_arg(*args, unsigned);
		put_number(line, value, *format == 'u' ? 10 : 16, false, width,
			   pad);
		break;
	default:
		put(line, *format);
	}
	return format + 1;
}

static void print_args(const char *prefix, const char *format, va_list *args,
		       const char *suffix)
{
	struct line line = { .size = 0 };

	while (*prefix)
		put(&line, *prefix++);
	while (*format) {
		if (*format == '%')
			format = convert(&line, format + 1, args);
		else
			put(&line, *format++);
	}
	while (*suffix)
		put(&line, *suffix++);

	while (__atomic_exchange_n(&print_lock, 1, __ATOMIC_ACQUIRE))
		cpu_pause();
	serial_write(line.text, line.size);
	__atomic_store_n(&print_lock, 0, __ATOMIC_RELEASE);
}

void print(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	print_args("", format, &args, "");
	va_end(args);
}

void fail(const char *format, ...)
{
	va_list args;

	/* A failed test of the UART may have left it in loopback. */
	outb(SERIAL + 3, 3);
	outb(SERIAL + 4, 8);
	va_start(args, format);
	print_args("FAIL ", format, &args, "\n");
	va_end(args);
	guest_exit(1);
}

void guest_exit(uint32_t code)
{
	outl(0xf4, code);
	for (;;)
		__asm__ volatile("cli; hlt");
}

void check_equal(const char *file, int line, const char *what, uint64_t got,
		 uint64_t want)
{
	if (got == want)
		return;
	if (got < 1000000 && want < 1000000)
		fail("%s:%d %s: %lu, want %lu", file, line, what, got, want);
	fail("%s:%d %s: 0x%lx, want 0x%lx", file, line, what, got, want);
}

uint64_t clock_now(void)
{
	static uint32_t last;
	static uint64_t now;
	uint32_t mask, ticks;

	acpi_init();
	mask = acpi.pm_timer_32 ? 0xffffffff : 0xffffff;
	ticks = inl(acpi.pm_timer) & mask;
	if (!now)
		last = ticks - 1;
	now += (ticks - last) & mask;
	last = ticks;
	return now;
}

void clock_spin(uint64_t ticks)
{
	uint64_t end = clock_now() + ticks;

	while (clock_now() < end)
		cpu_pause();
}

/* The text after "key" in the command line's words, or NULL. */
static const char *option_find(const char *key)
{
	const char *word = boot.cmdline;
	size_t size = strlen(key);

	while (*word) {
		if (!memcmp(word, key, size) &&
		    (!word[size] || word[size] == ' ' || word[size] == '='))
			return word + size;
		while (*word && *word != ' ')
			word++;
		while (*word == ' ')
			word++;
	}
	return NULL;
}

bool option(const char *key)
{
	return option_find(key);
}

uint64_t option_number(const char *key, uint64_t otherwise)
{
	const char *text = option_find(key);
	uint64_t value = 0;
	unsigned base = 10;

	if (!text || *text++ != '=')
		return otherwise;
	if (text[0] == '0' && text[1] == 'x') {
		base = 16;
		text += 2;
	}
	for (;; text++) {
		unsigned digit = (unsigned)*text - '0';

		if (digit > 9)
			digit = ((unsigned)*text | 0x20) - 'a' + 10;
		if (digit >= base)
			return value;
		value = value * base + digit;
	}
}

bool option_is(const char *key, const char *text)
{
	const char *value = option_find(key);
	size_t size = strlen(text);

	return value && *value == '=' && !memcmp(value + 1, text, size) &&
	       (!value[1 + size] || value[1 + size] == ' ');
}
