// The contract is Include/petar.h; this target only maps it for Swift.
