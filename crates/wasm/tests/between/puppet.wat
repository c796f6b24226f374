;; A canister that does what it is told: its argument is a script, and so is what a callback is
;; given (by address). Each step is a letter and what belongs to it; numbers are little-endian.
;;
;;   r LEN bytes   append to the reply       R   reply
;;   j LEN bytes   reject                    t LEN bytes   trap
;;   a             append the argument       x   append the reject code and message
;;   + N           add to the counter        =   append the counter
;;   f             append refunded cycles    b   append the cycles that the canister has
;;   k LO          accept cycles             T LO HI   set the timer
;;   w / l         write the counter to stable memory / read it from there
;;   p LEN bytes   print
;;   m N           grow the heap by N pages, which have to be zero, and write to each
;;   v N           add to a global, and append it    o N   go round N times
;;   z             append the status
;;   q             append the instructions of the context
;;   c ...         call: LEN callee, LEN method, LEN argument, cycles LO, timeout (0: none),
;;                 LEN script on reply, LEN on reject, LEN on cleanup (0: none)
(module
  (import "ic0" "msg_arg_data_size" (func $arg_size (result i32)))
  (import "ic0" "msg_arg_data_copy" (func $arg_copy (param i32 i32 i32)))
  (import "ic0" "msg_reply_data_append" (func $append (param i32 i32)))
  (import "ic0" "msg_reply" (func $reply))
  (import "ic0" "msg_reject" (func $reject (param i32 i32)))
  (import "ic0" "msg_reject_code" (func $code (result i32)))
  (import "ic0" "msg_reject_msg_size" (func $why_size (result i32)))
  (import "ic0" "msg_reject_msg_copy" (func $why_copy (param i32 i32 i32)))
  (import "ic0" "msg_cycles_refunded128" (func $refunded (param i32)))
  (import "ic0" "msg_cycles_accept128" (func $accept (param i64 i64 i32)))
  (import "ic0" "canister_cycle_balance128" (func $balance (param i32)))
  (import "ic0" "canister_status" (func $status (result i32)))
  (import "ic0" "performance_counter" (func $counter (param i32) (result i64)))
  (import "ic0" "trap" (func $trap (param i32 i32)))
  (import "ic0" "debug_print" (func $print (param i32 i32)))
  (import "ic0" "global_timer_set" (func $timer (param i64) (result i64)))
  (import "ic0" "stable64_size" (func $stable_size (result i64)))
  (import "ic0" "stable64_grow" (func $stable_grow (param i64) (result i64)))
  (import "ic0" "stable64_read" (func $stable_read (param i64 i64 i64)))
  (import "ic0" "stable64_write" (func $stable_write (param i64 i64 i64)))
  (import "ic0" "call_new" (func $call_new (param i32 i32 i32 i32 i32 i32 i32 i32)))
  (import "ic0" "call_on_cleanup" (func $on_cleanup (param i32 i32)))
  (import "ic0" "call_data_append" (func $call_data (param i32 i32)))
  (import "ic0" "call_cycles_add128" (func $call_cycles (param i64 i64)))
  (import "ic0" "call_with_best_effort_response" (func $best_effort (param i32)))
  (import "ic0" "call_perform" (func $perform (result i32)))
  (memory (export "memory") 64)
  (table 1 funcref)
  (elem (i32.const 0) $run)
  ;; 0: the counter. 16: scratch. 4096 and on: scripts.
  (global $free (mut i32) (i32.const 4096))
  (global $sum (mut i32) (i32.const 0))
  (func $word (param $at i32) (result i32) (i32.load (local.get $at)))
  ;; Room for so many bytes, that nothing else takes.
  (func $room (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (global.get $free))
    (global.set $free (i32.add (global.get $free) (i32.add (local.get $size) (i32.const 8))))
    (local.get $at))
  (func $argument (result i32)
    (local $at i32)
    (local.set $at (call $room (call $arg_size)))
    (call $arg_copy (local.get $at) (i32.const 0) (call $arg_size))
    (i32.store8 (i32.add (local.get $at) (call $arg_size)) (i32.const 0))
    (local.get $at))
  ;; Runs the script at an address, up to a zero or a full stop.
  (func $run (param $at i32)
    (local $op i32) (local $len i32) (local $from i32) (local $callee i32) (local $name i32)
    (local $arg i32) (local $reply i32) (local $reject i32) (local $cleanup i32) (local $cycles i32)
    (local $timeout i32)
    (loop $next
      (local.set $op (i32.load8_u (local.get $at)))
      (local.set $at (i32.add (local.get $at) (i32.const 1)))
      (if (i32.or (i32.eqz (local.get $op)) (i32.eq (local.get $op) (i32.const 46))) (then (return)))
      (local.set $len (call $word (local.get $at)))
      (local.set $from (i32.add (local.get $at) (i32.const 4)))
      (if (i32.eq (local.get $op) (i32.const 114)) ;; r
        (then (call $append (local.get $from) (local.get $len))
              (local.set $at (i32.add (local.get $from) (local.get $len)))))
      (if (i32.eq (local.get $op) (i32.const 106)) ;; j
        (then (call $reject (local.get $from) (local.get $len))
              (local.set $at (i32.add (local.get $from) (local.get $len)))))
      (if (i32.eq (local.get $op) (i32.const 116)) ;; t
        (then (call $trap (local.get $from) (local.get $len))))
      (if (i32.eq (local.get $op) (i32.const 112)) ;; p
        (then (call $print (local.get $from) (local.get $len))
              (local.set $at (i32.add (local.get $from) (local.get $len)))))
      (if (i32.eq (local.get $op) (i32.const 82)) (then (call $reply))) ;; R
      (if (i32.eq (local.get $op) (i32.const 97)) ;; a
        (then (call $append (call $argument) (call $arg_size))))
      (if (i32.eq (local.get $op) (i32.const 120)) ;; x
        (then (i32.store8 (i32.const 16) (call $code))
              (call $append (i32.const 16) (i32.const 1))
              (local.set $arg (call $room (call $why_size)))
              (call $why_copy (local.get $arg) (i32.const 0) (call $why_size))
              (call $append (local.get $arg) (call $why_size))))
      (if (i32.eq (local.get $op) (i32.const 43)) ;; +
        (then (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (local.get $len)))
              (local.set $at (local.get $from))))
      (if (i32.eq (local.get $op) (i32.const 61)) ;; =
        (then (call $append (i32.const 0) (i32.const 4))))
      (if (i32.eq (local.get $op) (i32.const 122)) ;; z
        (then (i32.store8 (i32.const 16) (call $status))
              (call $append (i32.const 16) (i32.const 1))))
      (if (i32.eq (local.get $op) (i32.const 102)) ;; f
        (then (call $refunded (i32.const 16)) (call $append (i32.const 16) (i32.const 16))))
      (if (i32.eq (local.get $op) (i32.const 98)) ;; b
        (then (call $balance (i32.const 16)) (call $append (i32.const 16) (i32.const 16))))
      (if (i32.eq (local.get $op) (i32.const 113)) ;; q
        (then (i64.store (i32.const 16) (call $counter (i32.const 1)))
              (call $append (i32.const 16) (i32.const 8))))
      (if (i32.eq (local.get $op) (i32.const 107)) ;; k
        (then (call $accept (i64.const 0) (i64.extend_i32_u (local.get $len)) (i32.const 16))
              (local.set $at (local.get $from))))
      (if (i32.eq (local.get $op) (i32.const 84)) ;; T
        (then (drop (call $timer (i64.load (local.get $at))))
              (local.set $at (i32.add (local.get $at) (i32.const 8)))))
      (if (i32.eq (local.get $op) (i32.const 119)) ;; w
        (then (if (i64.eqz (call $stable_size)) (then (drop (call $stable_grow (i64.const 1)))))
              (call $stable_write (i64.const 0) (i64.const 0) (i64.const 4))))
      (if (i32.eq (local.get $op) (i32.const 109)) ;; m
        (then (local.set $arg (i32.shl (memory.grow (local.get $len)) (i32.const 16)))
              (local.set $at (local.get $from))
              (loop $zeros
                (if (i32.load8_u (local.get $arg)) (then (unreachable)))
                (i32.store8 (local.get $arg) (i32.const 1))
                (local.set $arg (i32.add (local.get $arg) (i32.const 4096)))
                (br_if $zeros
                  (i32.lt_u (local.get $arg) (i32.shl (memory.size) (i32.const 16)))))))
      (if (i32.eq (local.get $op) (i32.const 118)) ;; v
        (then (global.set $sum (i32.add (global.get $sum) (local.get $len)))
              (i32.store (i32.const 16) (global.get $sum))
              (call $append (i32.const 16) (i32.const 4))
              (local.set $at (local.get $from))))
      (if (i32.eq (local.get $op) (i32.const 111)) ;; o
        (then (local.set $at (local.get $from))
              (loop $on
                (local.set $len (i32.sub (local.get $len) (i32.const 1)))
                (br_if $on (i32.gt_s (local.get $len) (i32.const 0))))))
      (if (i32.eq (local.get $op) (i32.const 108)) ;; l
        (then (call $stable_read (i64.const 0) (i64.const 0) (i64.const 4))))
      (if (i32.eq (local.get $op) (i32.const 99)) ;; c
        (then
          (local.set $callee (local.get $at))
          (local.set $name (call $after (local.get $callee)))
          (local.set $arg (call $after (local.get $name)))
          (local.set $cycles (call $after (local.get $arg)))
          (local.set $timeout (i32.add (local.get $cycles) (i32.const 4)))
          (local.set $reply (i32.add (local.get $timeout) (i32.const 4)))
          (local.set $reject (call $after (local.get $reply)))
          (local.set $cleanup (call $after (local.get $reject)))
          (local.set $at (call $after (local.get $cleanup)))
          (call $call_new
            (i32.add (local.get $callee) (i32.const 4)) (call $word (local.get $callee))
            (i32.add (local.get $name) (i32.const 4)) (call $word (local.get $name))
            (i32.const 0) (i32.add (local.get $reply) (i32.const 4))
            (i32.const 0) (i32.add (local.get $reject) (i32.const 4)))
          (call $call_data (i32.add (local.get $arg) (i32.const 4)) (call $word (local.get $arg)))
          (if (call $word (local.get $cycles))
            (then (call $call_cycles (i64.const 0) (i64.load32_u (local.get $cycles)))))
          (if (call $word (local.get $timeout)) (then (call $best_effort (call $word (local.get $timeout)))))
          (if (call $word (local.get $cleanup))
            (then (call $on_cleanup (i32.const 0) (i32.add (local.get $cleanup) (i32.const 4)))))
          (i32.store8 (i32.const 16) (call $perform))
          (if (i32.load8_u (i32.const 16)) (then (call $append (i32.const 16) (i32.const 1))))))
      (br $next)))
  ;; Behind a length and as many bytes.
  (func $after (param $at i32) (result i32)
    (i32.add (i32.add (local.get $at) (i32.const 4)) (call $word (local.get $at))))
  (func $main (call $run (call $argument)))
  (func $tick
    (i32.store (i32.const 0) (i32.add (i32.load (i32.const 0)) (i32.const 1000))))
  (func $keep (if (i64.eqz (call $stable_size)) (then (drop (call $stable_grow (i64.const 1)))))
    (call $stable_write (i64.const 0) (i64.const 0) (i64.const 4)))
  (func $back (call $stable_read (i64.const 0) (i64.const 0) (i64.const 4)))
  (export "canister_init" (func $main))
  (export "canister_update do" (func $main))
  (export "canister_query ask" (func $main))
  (export "canister_composite_query all" (func $main))
  (export "canister_global_timer" (func $tick))
  (export "canister_pre_upgrade" (func $keep))
  (export "canister_post_upgrade" (func $back)))
