import Array "mo:core/Array";
import Debug "mo:core/Debug";
import Nat8 "mo:core/Nat8";
import Runtime "mo:core/Runtime";

// A shop, whose arguments and replies are of many types.
persistent actor class Shop(init : ?{ currency : Text }) {
  type Item = { name : Text; price : Nat; tags : [Text]; picture : ?Blob };
  type Outcome = { #sold : { item : Item; left : Int }; #soldOut; #unknown : Text };

  let currency = switch (init) { case (?{ currency }) currency; case null "CHF" };
  var stock : [(Item, Int)] = [];

  public func add(item : Item, count : Nat8) : async Nat {
    let old = stock;
    stock := Array.concat(old, [(item, Nat8.toNat(count))]);
    stock.size()
  };

  public func buy(name : Text) : async Outcome {
    var outcome : Outcome = #unknown name;
    var kept : [(Item, Int)] = [];
    for ((item, left) in stock.vals()) {
      if (item.name == name and left == 0) outcome := #soldOut;
      if (item.name == name and left > 0) {
        outcome := #sold { item; left = left - 1 };
        kept := Array.concat(kept, [(item, left - 1)]);
      } else {
        kept := Array.concat(kept, [(item, left)]);
      };
    };
    stock := kept;
    outcome
  };

  public query func price(name : Text) : async (?Nat, Text) {
    for ((item, _) in stock.vals()) {
      if (item.name == name) return (?item.price, currency);
    };
    (null, currency)
  };

  public shared query ({ caller }) func who() : async Principal { caller };

  public func empty() : async () {
    stock := [];
    Debug.print("nothing is left");
    Runtime.trap("the shop may not be empty");
  };
}
