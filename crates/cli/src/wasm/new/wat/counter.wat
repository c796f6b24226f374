;; A counter, as a canister: what stays in memory after a call is there for the next one.
;;
;; Arguments and replies are Candid. A number is "DIDL", a table of no types, one value of type nat64
;; (0x78), and its 8 bytes: 15 in all. Whatever else comes in is refused.
(module
  (import "ic0" "msg_arg_data_size" (func $argument_size (result i32)))
  (import "ic0" "msg_arg_data_copy" (func $argument_copy (param i32 i32 i32)))
  (import "ic0" "msg_reply_data_append" (func $append (param i32 i32)))
  (import "ic0" "msg_reply" (func $reply))
  (import "ic0" "trap" (func $trap (param i32 i32)))
  (import "ic0" "debug_print" (func $print (param i32 i32)))

  ;; 0: a message; its number is at 7. 16: how one begins.
  (memory 1)
  (data (i32.const 16) "DIDL\00\01\78")
  (data (i32.const 32) "increment takes a nat64")
  (data (i32.const 64) "the counter is full")
  (data (i32.const 96) "counted")

  (global $count (mut i64) (i64.const 0))

  (func $answer
    (memory.copy (i32.const 0) (i32.const 16) (i32.const 7))
    (i64.store (i32.const 7) (global.get $count))
    (call $append (i32.const 0) (i32.const 15))
    (call $reply))

  (func $argument (result i64)
    (if (i32.ne (call $argument_size) (i32.const 15))
      (then (call $refuse)))
    (call $argument_copy (i32.const 0) (i32.const 0) (i32.const 15))
    ;; The first 7 bytes, as 4 and the last of these and 3 more.
    (if (i32.ne (i32.load (i32.const 0)) (i32.load (i32.const 16)))
      (then (call $refuse)))
    (if (i32.ne (i32.load (i32.const 3)) (i32.load (i32.const 19)))
      (then (call $refuse)))
    (i64.load (i32.const 7)))

  (func $refuse
    (call $trap (i32.const 32) (i32.const 23)))

  (func $increment (export "canister_update increment")
    (local $sum i64)
    (local.set $sum (i64.add (global.get $count) (call $argument)))
    (if (i64.lt_u (local.get $sum) (global.get $count))
      (then (call $trap (i32.const 64) (i32.const 19))))
    (global.set $count (local.get $sum))
    (call $print (i32.const 96) (i32.const 7))
    (call $answer))

  (func $get (export "canister_query get")
    (call $answer))

  ;; What the canister says of its methods: the text of counter.did.
  (@custom "icp:public candid:service"
    "service : {\n  increment : (nat64) -> (nat64);\n  get : () -> (nat64) query;\n}\n"))
