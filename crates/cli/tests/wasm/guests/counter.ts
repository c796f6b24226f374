// A counter in AssemblyScript. Arguments and replies are Candid: "DIDL", no types, one nat64.

// @ts-ignore: decorator
@external("ic0", "msg_arg_data_size")
declare function argumentSize(): usize;
// @ts-ignore: decorator
@external("ic0", "msg_arg_data_copy")
declare function argumentCopy(into: usize, offset: usize, size: usize): void;
// @ts-ignore: decorator
@external("ic0", "msg_reply_data_append")
declare function replyAppend(bytes: usize, size: usize): void;
// @ts-ignore: decorator
@external("ic0", "msg_reply")
declare function reply(): void;
// @ts-ignore: decorator
@external("ic0", "trap")
declare function trap(text: usize, size: usize): void;

const SIZE: usize = 15;
const message = memory.data(16);

let count: u64 = 0;

function answer(): void {
  store<u32>(message, 0x4c444944);
  store<u8>(message, 0, 4);
  store<u8>(message, 1, 5);
  store<u8>(message, 0x78, 6);
  store<u64>(message, count, 7);
  replyAppend(message, SIZE);
  reply();
}

export function increment(): void {
  if (argumentSize() != SIZE) throw new Error("increment takes a nat64");
  argumentCopy(message, 0, SIZE);
  count += load<u64>(message, 7);
  answer();
}

export function get(): void {
  answer();
}

export function fail(): void {
  const few = new StaticArray<i32>(1);
  count += few[<i32>argumentSize()];
}

// What the compiler calls when something is thrown.
export function abort(message: string | null, _file: string | null, _line: u32, _column: u32): void {
  const text = String.UTF8.encode(message ? message : "aborted");
  trap(changetype<usize>(text), text.byteLength);
}
