// A counter, as a canister: what stays in memory after a call is there for the next one.
//
// Arguments and replies are Candid (counter.did). A number is "DIDL", a table of no types, one value
// of type nat64 (0x78), and its 8 bytes. Whatever else comes in is refused.

#define IC0(name) __attribute__((import_module("ic0"), import_name(#name)))
#define EXPORT(name) __attribute__((export_name(name)))

typedef unsigned long long u64;

unsigned argument_size(void) IC0(msg_arg_data_size);
void argument_copy(void *into, unsigned offset, unsigned size) IC0(msg_arg_data_copy);
void reply_append(const void *bytes, unsigned size) IC0(msg_reply_data_append);
void reply(void) IC0(msg_reply);
void trap(const char *text, unsigned size) IC0(trap);
void debug_print(const char *text, unsigned size) IC0(debug_print);

struct message {
  unsigned char header[7];
  unsigned char number[8];
};

static const unsigned char header[7] = {'D', 'I', 'D', 'L', 0, 1, 0x78};

static u64 count;

static void answer(u64 number) {
  struct message message;
  for (int i = 0; i < 7; i++) message.header[i] = header[i];
  for (int i = 0; i < 8; i++) message.number[i] = (unsigned char)(number >> (8 * i));
  reply_append(&message, sizeof message);
  reply();
}

static u64 argument(void) {
  static const char complaint[] = "increment takes a nat64";
  struct message message;
  unsigned fits = argument_size() == sizeof message;
  if (fits) argument_copy(&message, 0, sizeof message);
  for (int i = 0; fits && i < 7; i++) fits = message.header[i] == header[i];
  if (!fits) trap(complaint, sizeof complaint - 1);
  u64 number = 0;
  for (int i = 0; i < 8; i++) number |= (u64)message.number[i] << (8 * i);
  return number;
}

EXPORT("canister_update increment") void increment(void) {
  static const char overflow[] = "the counter is full";
  u64 sum = count + argument();
  if (sum < count) trap(overflow, sizeof overflow - 1);
  count = sum;
  debug_print("counted", 7);
  answer(count);
}

EXPORT("canister_query get") void get(void) { answer(count); }

// What the canister says of its methods: a custom section with the text of counter.did.
__asm__(".section \".custom_section.icp:public candid:service\",\"\",@\n"
        ".incbin \"counter.did\"\n"
        ".text\n");
