package tokencache

// DecodeBase64 is the hit path's decoder.
var DecodeBase64 = decodeBase64

// DecodedLen is how much room it needs.
var DecodedLen = decodedLen
