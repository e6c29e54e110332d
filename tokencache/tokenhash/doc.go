// Package tokenhash makes, parses and verifies the password hashes of secrets, for
// any source of tokens that stores one.
//
// For most uses, hash a secret that the library has generated with [New], store the
// text that [Hash.Reveal] returns, and answer with the hash that [Parse] returns:
//
//	return tokencache.Answer[Record]{Held: true, Verify: hash.Verify}, nil
//
// # Which hash is right
//
// A secret of tokencache.GenerateSecret has 128 random bits. Nobody can guess it,
// however fast a guess is, so one SHA-256 with a salt is enough: [New]. A secret that a
// person chose can be guessed, and each guess should be expensive: [Stretched], whose
// verification takes some 2 000 times as long.
//
// # Forms
//
// Parse reads, and Verify verifies, the forms of Elasticsearch's service_tokens file:
//
//	{SSHA256}salt key           SHA-256 of the secret and the salt; New makes it
//	{PBKDF2_STRETCH}N$salt$key  PBKDF2-HMAC-SHA512 of the secret's SHA-512 in lower-case hex; Stretched makes it
//	{PBKDF2}N$salt$key          PBKDF2-HMAC-SHA512 of the secret
//	$2a$CC$...  $2b$  $2y$      bcrypt of the secret
//
// A secret with a NUL byte matches no hash, nor does one of more than 72 bytes match one
// of bcrypt: several such secrets would match the same hash.
//
// # Concurrency
//
// A [Hash] never changes, and is safe for concurrent use by multiple goroutines.
package tokenhash
