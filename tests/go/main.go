// Command claims answers questions about NATS JWTs with github.com/nats-io/jwt/v2, so that tests
// can hold authsvc's codec against it. One JSON object per line comes in, one goes out.
//
//	{"op":"recode","token":T,"seed":S}  -> decoded, encoded again with the same iat: {"token":T2,"claims":{...},"blocking":bool}
//	{"op":"encode","kind":"user","claims":{...},"seed":S} -> built from JSON and signed: {"token":T}
//	{"op":"creds","token":T,"seed":S}   -> {"text":"..."}
//	{"op":"read_creds","text":"..."}    -> {"token":T,"seed":S}
//
// An answer that can't be given is {"error":"..."}. Called as "claims vectors DIR" it writes the
// files in tests/vectors that its library makes, always the same ones.
package main

import (
	"bufio"
	"bytes"
	"crypto/sha512"
	"encoding/base32"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
)

type question struct {
	Op     string          `json:"op"`
	Kind   string          `json:"kind"`
	Token  string          `json:"token"`
	Seed   string          `json:"seed"`
	Text   string          `json:"text"`
	Claims json.RawMessage `json:"claims"`
}

type answer struct {
	Token    string          `json:"token,omitempty"`
	Seed     string          `json:"seed,omitempty"`
	Text     string          `json:"text,omitempty"`
	Claims   json.RawMessage `json:"claims,omitempty"`
	Blocking bool            `json:"blocking"`
	Issues   []string        `json:"issues,omitempty"`
	Error    string          `json:"error,omitempty"`
}

func blank(kind string) (jwt.Claims, error) {
	switch kind {
	case "user":
		return &jwt.UserClaims{}, nil
	case "account":
		return &jwt.AccountClaims{}, nil
	case "operator":
		return &jwt.OperatorClaims{}, nil
	case "activation":
		return &jwt.ActivationClaims{}, nil
	case "authorization_request":
		return &jwt.AuthorizationRequestClaims{}, nil
	case "authorization_response":
		return &jwt.AuthorizationResponseClaims{}, nil
	case "generic":
		return &jwt.GenericClaims{}, nil
	}
	return nil, fmt.Errorf("unknown kind %q", kind)
}

// sign encodes claims under a wanted iat. The library always writes the time of day, so its own
// token is made first and write must give the very same for that time: the tests rely on the
// library and not on write.
func sign(claims jwt.Claims, key nkeys.KeyPair, issuedAt int64) (string, error) {
	token, err := claims.Encode(key)
	if err != nil {
		return "", err
	}
	again, err := write(claims, key, claims.Claims().IssuedAt)
	if err != nil {
		return "", err
	}
	if again != token {
		return "", errors.New("this program and the library disagree")
	}
	return write(claims, key, issuedAt)
}

func write(claims jwt.Claims, key nkeys.KeyPair, issuedAt int64) (string, error) {
	data := claims.Claims()
	data.IssuedAt = issuedAt
	data.ID = ""
	shared, err := json.Marshal(data)
	if err != nil {
		return "", err
	}
	sum := sha512.Sum512_256(shared)
	data.ID = base32.StdEncoding.WithPadding(base32.NoPadding).EncodeToString(sum[:])
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	header, err := json.Marshal(jwt.Header{Type: jwt.TokenTypeJwt, Algorithm: jwt.AlgorithmNkey})
	if err != nil {
		return "", err
	}
	encoding := base64.RawURLEncoding
	text := encoding.EncodeToString(header) + "." + encoding.EncodeToString(payload)
	signature, err := key.Sign([]byte(text))
	if err != nil {
		return "", err
	}
	return text + "." + encoding.EncodeToString(signature), nil
}

func reply(q question) (answer, error) {
	switch q.Op {
	case "recode":
		claims, err := jwt.Decode(q.Token)
		if err != nil {
			return answer{}, err
		}
		decoded, err := json.Marshal(claims)
		if err != nil {
			return answer{}, err
		}
		key, err := nkeys.FromSeed([]byte(q.Seed))
		if err != nil {
			return answer{}, err
		}
		token, err := sign(claims, key, claims.Claims().IssuedAt)
		// Last, for Validate changes a sampling of 0.
		results := jwt.CreateValidationResults()
		claims.Validate(results)
		var issues []string
		for _, issue := range results.Issues {
			issues = append(issues, issue.Description)
		}
		return answer{Token: token, Claims: decoded, Blocking: results.IsBlocking(false), Issues: issues}, err
	case "encode":
		claims, err := blank(q.Kind)
		if err != nil {
			return answer{}, err
		}
		reader := json.NewDecoder(bytes.NewReader(q.Claims))
		reader.DisallowUnknownFields()
		if err := reader.Decode(claims); err != nil {
			return answer{}, err
		}
		key, err := nkeys.FromSeed([]byte(q.Seed))
		if err != nil {
			return answer{}, err
		}
		token, err := sign(claims, key, claims.Claims().IssuedAt)
		if err != nil {
			return answer{}, err
		}
		if _, err := jwt.Decode(token); err != nil {
			return answer{}, err
		}
		return answer{Token: token}, nil
	case "creds":
		text, err := jwt.FormatUserConfig(q.Token, []byte(q.Seed))
		return answer{Text: string(text)}, err
	case "read_creds":
		token, err := jwt.ParseDecoratedJWT([]byte(q.Text))
		if err != nil {
			return answer{}, err
		}
		key, err := jwt.ParseDecoratedUserNKey([]byte(q.Text))
		if err != nil {
			return answer{}, err
		}
		seed, err := key.Seed()
		return answer{Token: token, Seed: string(seed)}, err
	}
	return answer{}, errors.New("unknown op")
}

func main() {
	if len(os.Args) == 3 && os.Args[1] == "vectors" {
		if err := writeVectors(os.Args[2]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	in := bufio.NewReaderSize(os.Stdin, 1<<20)
	out := json.NewEncoder(os.Stdout)
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return
		}
		var q question
		var a answer
		if err = json.Unmarshal(line, &q); err == nil {
			a, err = reply(q)
		}
		if err != nil {
			a = answer{Error: err.Error()}
		}
		if err := out.Encode(a); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}
