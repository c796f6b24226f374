import Debug "mo:core/Debug";

// A counter: what a persistent actor holds is there for the next call, and after an upgrade.
persistent actor {
  var count : Nat64 = 0;

  public func increment(by : Nat64) : async Nat64 {
    count += by;
    Debug.print("counted");
    count
  };

  public query func get() : async Nat64 { count };
}
