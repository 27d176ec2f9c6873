package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
)

const issuedAt = 1_700_000_000

type jwtVector struct {
	Name   string     `json:"name"`
	Kind   string     `json:"kind"`
	Issuer string     `json:"issuer_seed"`
	JWT    string     `json:"jwt"`
	Claims jwt.Claims `json:"claims"`
	Valid  bool       `json:"valid"`
	key    nkeys.KeyPair
}

type nkeyVector struct {
	Kind      string `json:"kind"`
	RawSeed   string `json:"raw_seed"`
	Seed      string `json:"seed"`
	Public    string `json:"public"`
	Message   string `json:"message"`
	Signature string `json:"signature"`
}

// pair makes a key that is the same in every run, and worthless for that reason.
func pair(prefix nkeys.PrefixByte, name string) nkeys.KeyPair {
	raw := sha256.Sum256([]byte(name))
	seed, err := nkeys.EncodeSeed(prefix, raw[:])
	if err != nil {
		panic(err)
	}
	key, err := nkeys.FromSeed(seed)
	if err != nil {
		panic(err)
	}
	return key
}

// curvePair is pair for keys that encrypt.
func curvePair(name string) nkeys.KeyPair {
	raw := sha256.Sum256([]byte(name))
	key, err := nkeys.CreateCurveKeysWithRand(bytes.NewReader(raw[:]))
	if err != nil {
		panic(err)
	}
	return key
}

func public(key nkeys.KeyPair) string {
	text, err := key.PublicKey()
	if err != nil {
		panic(err)
	}
	return text
}

func seedOf(key nkeys.KeyPair) string {
	seed, err := key.Seed()
	if err != nil {
		panic(err)
	}
	return string(seed)
}

var (
	operator        = pair(nkeys.PrefixByteOperator, "operator")
	operatorSigning = pair(nkeys.PrefixByteOperator, "operator signing")
	account         = pair(nkeys.PrefixByteAccount, "account")
	accountSigning  = pair(nkeys.PrefixByteAccount, "account signing")
	accountScoped   = pair(nkeys.PrefixByteAccount, "account scoped")
	other           = pair(nkeys.PrefixByteAccount, "other account")
	system          = pair(nkeys.PrefixByteAccount, "system account")
	user            = pair(nkeys.PrefixByteUser, "user")
	server          = pair(nkeys.PrefixByteServer, "server")
	curve           = curvePair("curve")
)

func operators() []jwtVector {
	plain := jwt.NewOperatorClaims(public(operator))
	plain.Name = "plain"
	full := jwt.NewOperatorClaims(public(operator))
	full.Name = "full"
	full.SigningKeys.Add(public(operatorSigning))
	full.AccountServerURL = "https://accounts.example.com/jwt/v1"
	full.OperatorServiceURLs.Add("nats://one.example.com:4222", "wss://two.example.com")
	full.SystemAccount = public(system)
	full.AssertServerVersion = "2.14.3"
	full.StrictSigningKeyUsage = true
	full.Tags.Add("region:eu", "Upper")
	full.Expires = issuedAt + 3600
	full.NotBefore = issuedAt - 3600
	full.Audience = "everybody"
	return []jwtVector{
		{Name: "operator, plain", key: operator, Claims: plain, Valid: true},
		{Name: "operator, everything set", key: operator, Claims: full, Valid: true},
	}
}

func exchange(claims *jwt.AccountClaims) {
	activation := jwt.NewActivationClaims(public(account))
	activation.ImportSubject = "private.>"
	activation.ImportType = jwt.Stream
	token, err := sign(activation, other, issuedAt)
	if err != nil {
		panic(err)
	}
	claims.Imports.Add(
		&jwt.Import{Name: "z", Subject: "requests.*.*", Account: public(other), LocalSubject: "in.$2.$1", Type: jwt.Service, Share: true},
		&jwt.Import{Name: "a", Subject: "private.*", Account: public(other), Token: token, Type: jwt.Stream, AllowTrace: true},
	)
	claims.Exports.Add(
		&jwt.Export{
			Name: "service", Subject: "svc.*.run", Type: jwt.Service, TokenReq: true, ResponseType: jwt.ResponseTypeStream,
			Revocations:       jwt.RevocationList{public(other): issuedAt, "*": issuedAt - 5},
			ResponseThreshold: 1500 * time.Millisecond, AccountTokenPosition: 2, Advertise: true, AllowTrace: true,
			Latency: &jwt.ServiceLatency{Sampling: 25, Results: "latency.svc"},
			Info:    jwt.Info{Description: "what it does", InfoURL: "https://example.com/svc"},
		},
		&jwt.Export{Name: "by header", Subject: "echo", Type: jwt.Service, Latency: &jwt.ServiceLatency{Results: "latency.echo"}},
		&jwt.Export{Subject: "news.>", Type: jwt.Stream},
	)
}

func fullAccount() *jwt.AccountClaims {
	full := jwt.NewAccountClaims(public(account))
	full.Name = "full"
	exchange(full)
	full.Limits.NatsLimits = jwt.NatsLimits{Subs: 1, Data: 2, Payload: 3}
	full.Limits.AccountLimits = jwt.AccountLimits{Imports: 4, Exports: 5, WildcardExports: true, DisallowBearer: true, Conn: 6, LeafNodeConn: 7}
	full.Limits.JetStreamTieredLimits = jwt.JetStreamTieredLimits{
		"R3": {MemoryStorage: 1, DiskStorage: 2, Streams: 3, Consumer: 4, MaxAckPending: 5, MemoryMaxStreamBytes: 6, DiskMaxStreamBytes: 7, MaxBytesRequired: true},
		"R1": {DiskStorage: -1},
	}
	full.SigningKeys.Add(public(accountSigning))
	scope := jwt.NewUserScope()
	scope.Key = public(accountScoped)
	scope.Role = "reader"
	scope.Description = "reads <everything>"
	scope.Template.Sub.Allow.Add("news.{{name()}}.>", "news.{{tag(region)}} queue")
	scope.Template.Pub.Deny.Add(">")
	scope.Template.BearerToken = true
	scope.Template.ProxyRequired = true
	scope.Template.AllowedConnectionTypes.Add(jwt.ConnectionTypeStandard, jwt.ConnectionTypeWebsocket)
	scope.Template.Resp = &jwt.ResponsePermission{MaxMsgs: 5, Expires: time.Minute}
	scope.Template.Src.Add("192.0.2.0/24")
	scope.Template.Times = []jwt.TimeRange{{Start: "08:00:00", End: "17:30:59"}}
	scope.Template.Locale = "Europe/Berlin"
	full.SigningKeys.AddScopedSigner(scope)
	full.RevokeAt(public(user), time.Unix(issuedAt, 0))
	full.RevokeAt("*", time.Unix(issuedAt-60, 0))
	full.DefaultPermissions.Pub.Deny.Add(">")
	full.DefaultPermissions.Sub.Deny.Add(">")
	full.DefaultPermissions.Resp = &jwt.ResponsePermission{MaxMsgs: 1}
	full.AddMapping("old.*", jwt.WeightedMapping{Subject: "new.$1", Weight: 60}, jwt.WeightedMapping{Subject: "new2.$1", Weight: 40, Cluster: "eu"})
	full.AddMapping("all", jwt.WeightedMapping{Subject: "everything"})
	full.Authorization.AuthUsers.Add(public(user))
	full.Authorization.AllowedAccounts.Add(public(other), public(account))
	full.Authorization.XKey = public(curve)
	full.Trace = &jwt.MsgTrace{Destination: "traces", Sampling: 10}
	full.ClusterTraffic = jwt.ClusterTrafficOwner
	full.Description = "every member is set"
	full.InfoURL = "https://example.com/account?a=1&b=2"
	full.Tags.Add("a", "b:c")
	full.Expires = issuedAt + 3600
	return full
}

func accounts() []jwtVector {
	plain := jwt.NewAccountClaims(public(account))
	plain.Name = "plain"
	stored := jwt.NewAccountClaims(public(account))
	stored.Name = "with JetStream"
	stored.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: 1 << 40, Streams: -1, Consumer: -1, MaxAckPending: -1}
	stored.Trace = &jwt.MsgTrace{}
	nothing := jwt.NewAccountClaims(public(account))
	nothing.Limits = jwt.OperatorLimits{}
	overlapping := jwt.NewAccountClaims(public(account))
	overlapping.Exports.Add(&jwt.Export{Subject: "a.>", Type: jwt.Stream}, &jwt.Export{Subject: "a.b", Type: jwt.Stream})
	return []jwtVector{
		{Name: "account, plain", key: operator, Claims: plain, Valid: true},
		{Name: "account, everything set", key: operatorSigning, Claims: fullAccount(), Valid: true},
		{Name: "account, self-signed, with JetStream", key: account, Claims: stored},
		{Name: "account, every limit 0", key: operator, Claims: nothing, Valid: true},
		{Name: "account, exports overlap", key: operator, Claims: overlapping},
	}
}

func users() []jwtVector {
	plain := jwt.NewUserClaims(public(user))
	plain.Name = "plain"
	full := jwt.NewUserClaims(public(user))
	full.Name = "alice%2Esmith+x@example%2Ecom"
	full.IssuerAccount = public(account)
	full.Pub.Allow.Add("requests.alice.>", "$SYS.REQ.USER.INFO")
	full.Pub.Deny.Add("requests.alice.secret")
	full.Sub.Allow.Add("responses.alice.>", "requests.*.alice.> workers")
	full.Resp = &jwt.ResponsePermission{MaxMsgs: -1, Expires: time.Second}
	full.Src.Add("192.0.2.0/24", "2001:db8::/32")
	full.Times = []jwt.TimeRange{{Start: "00:00:00", End: "12:00:00"}, {Start: "13:00:00", End: "23:59:59"}}
	full.Locale = "America/New_York"
	full.Limits.Subs, full.Limits.Data, full.Limits.Payload = 1000, -1, 8388608
	full.BearerToken, full.ProxyRequired = true, true
	full.AllowedConnectionTypes.Add(jwt.ConnectionTypeStandard)
	full.Tags.Add("credential:crd_1")
	full.Expires = issuedAt + 3600
	full.NotBefore = issuedAt
	full.Audience = "people"
	scoped := jwt.NewUserClaims(public(user))
	scoped.SetScoped(true)
	scoped.Name = "scoped"
	scoped.IssuerAccount = public(account)
	escaped := jwt.NewUserClaims(public(user))
	escaped.Name = "<script>&amp; \u2028\u2029 \"quoted\" back\\slash /slash \u007f \u0000\u0001\b\f\n\r\t\u001f é 日本 👩‍👩‍👧 \uffff \ufeff"
	escaped.Tags.Add("<&>")
	escaped.Sub.Allow.Add("a.<b>.&")
	broken := jwt.NewUserClaims(public(user))
	broken.Pub.Allow.Add("a..b", "has white space")
	return []jwtVector{
		{Name: "user, plain", key: account, Claims: plain, Valid: true},
		{Name: "user, everything set", key: accountSigning, Claims: full, Valid: true},
		{Name: "user, scoped", key: accountScoped, Claims: scoped, Valid: true},
		{Name: "user, everything that is escaped", key: account, Claims: escaped, Valid: true},
		{Name: "user, subjects that are none", key: account, Claims: broken},
	}
}

func others() []jwtVector {
	activation := jwt.NewActivationClaims(public(account))
	activation.Name = "leave"
	activation.ImportSubject = "private.>"
	activation.ImportType = jwt.Service
	activation.IssuerAccount = public(other)
	activation.Tags.Add("t")
	request := jwt.NewAuthorizationRequestClaims(public(user))
	request.Audience = "nats-authorization-request"
	request.Server = jwt.ServerID{Name: "s", Host: "127.0.0.1", ID: public(server), Version: "2.15.1", Cluster: "c", Tags: jwt.TagList{"t"}, XKey: public(curve)}
	request.UserNkey = public(user)
	request.ClientInformation = jwt.ClientInformation{Host: "192.0.2.1", ID: 1<<64 - 1, User: "u", Name: "n", Tags: jwt.TagList{"t"}, NameTag: "nt", Kind: "Client", Type: "nats", MQTT: "m", Nonce: "x"}
	request.ConnectOptions = jwt.ConnectOptions{JWT: "j", Nkey: "k", SignedNonce: "s", Token: "t", Username: "u", Password: "p", Name: "n", Lang: "python", Version: "1", Protocol: 1}
	request.TLS = &jwt.ClientTLS{Version: "1.3", Cipher: "TLS_AES_128_GCM_SHA256", Certs: jwt.StringList{"c"}, VerifiedChains: []jwt.StringList{{"a", "b"}}}
	request.RequestNonce = "r"
	bare := jwt.NewAuthorizationRequestClaims(public(user))
	response := jwt.NewAuthorizationResponseClaims(public(user))
	response.Audience = public(server)
	response.Jwt = "a.b.c"
	response.IssuerAccount = public(account)
	generic := jwt.NewGenericClaims("anything")
	generic.Data["type"] = "resolver_delete"
	generic.Data["numbers"] = []interface{}{1.0, 1.5, 1e21, 1e-7, 123456789012.0, -0.25, 1e20}
	generic.Data["accounts"] = []interface{}{public(account)}
	generic.Data["<b>"] = map[string]interface{}{"z": nil, "a": true}
	return []jwtVector{
		{Name: "activation", key: accountSigning, Claims: activation, Valid: true},
		{Name: "authorization request, everything set", key: server, Claims: request, Valid: true},
		{Name: "authorization request, empty", key: server, Claims: bare},
		{Name: "authorization response", key: accountSigning, Claims: response, Valid: true},
		{Name: "generic", key: operator, Claims: generic, Valid: true},
	}
}

func nkeyVectors() ([]nkeyVector, error) {
	kinds := map[string]nkeys.PrefixByte{
		"operator": nkeys.PrefixByteOperator, "account": nkeys.PrefixByteAccount, "user": nkeys.PrefixByteUser,
		"server": nkeys.PrefixByteServer, "cluster": nkeys.PrefixByteCluster,
	}
	var vectors []nkeyVector
	for _, kind := range []string{"operator", "account", "user", "server", "cluster"} {
		for _, name := range []string{"one", "two"} {
			raw := sha256.Sum256([]byte(kind + " " + name))
			key := pair(kinds[kind], kind+" "+name)
			signature, err := key.Sign([]byte(name))
			if err != nil {
				return nil, err
			}
			vectors = append(vectors, nkeyVector{
				Kind: kind, RawSeed: hex.EncodeToString(raw[:]), Seed: seedOf(key), Public: public(key),
				Message: name, Signature: base64.StdEncoding.EncodeToString(signature),
			})
		}
	}
	return vectors, nil
}

func store(path string, value interface{}) error {
	text, err := json.MarshalIndent(value, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o644)
}

func writeVectors(dir string) error {
	var vectors []jwtVector
	for _, part := range [][]jwtVector{operators(), accounts(), users(), others()} {
		vectors = append(vectors, part...)
	}
	for i := range vectors {
		v := &vectors[i]
		token, err := sign(v.Claims, v.key, issuedAt)
		if err != nil {
			return err
		}
		v.JWT, v.Issuer, v.Kind = token, seedOf(v.key), string(v.Claims.ClaimType())
	}
	if err := store(filepath.Join(dir, "jwt", "go.json"), vectors); err != nil {
		return err
	}
	for _, v := range vectors {
		if v.Name != "user, everything set" {
			continue
		}
		text, err := jwt.FormatUserConfig(v.JWT, []byte(seedOf(user)))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "jwt", "go.creds"), text, 0o644); err != nil {
			return err
		}
	}
	keys, err := nkeyVectors()
	if err != nil {
		return err
	}
	return store(filepath.Join(dir, "nkey", "go.json"), keys)
}
