package signers

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/arn"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"
	"github.com/aws/smithy-go/logging"

	"trustpack/pack"
)

// KMSConfig is the section `kms` of the configuration of packs.
type KMSConfig struct {
	Region string `yaml:"region"` // not needed where the key is named by its ARN
	// Endpoint takes the place of AWS's own address, for recorded replies and
	// for private gateways.
	Endpoint    string      `yaml:"endpoint"`
	Credentials Credentials `yaml:"credentials"`
}

// Credentials names the environment variables that hold an access key. Where
// none is named, the SDK's default chain is used: environment, shared files,
// container and instance roles.
type Credentials struct {
	AccessKeyIDEnv     string `yaml:"access_key_id_env"`
	SecretAccessKeyEnv string `yaml:"secret_access_key_env"`
	SessionTokenEnv    string `yaml:"session_token_env"` // of temporary credentials
}

// maxKMSMessage is what KMS signs as it is (API reference, Sign, Message).
const maxKMSMessage = 4096

// kmsKey signs with AWS KMS. It needs the permissions kms:GetPublicKey and
// kms:Sign.
type kmsKey struct {
	ctx       context.Context
	o         Options
	client    *kms.Client
	id        string // the key's ARN, which an alias no longer changes
	algorithm types.SigningAlgorithmSpec
	public    pack.PublicKey
}

// openKMS asks KMS for the public key of id: an ARN, a key ID or alias/NAME.
func openKMS(ctx context.Context, id string, o Options) (pack.Signer, error) {
	if id == "" {
		return nil, errors.New("no key is named after awskms:; want its ARN, its ID or alias/NAME")
	}
	cfg, err := kmsClientConfig(ctx, id, o)
	if err != nil {
		return nil, err
	}
	k := &kmsKey{ctx: ctx, o: o, client: kms.NewFromConfig(cfg)}
	asking, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	out, err := k.client.GetPublicKey(asking, &kms.GetPublicKeyInput{KeyId: aws.String(id)})
	if err != nil {
		return nil, fmt.Errorf("asking AWS KMS for the public key: %w", err)
	}
	der, err := x509.ParsePKIXPublicKey(out.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("reading the public key of AWS KMS: %w", err)
	}
	if k.public, err = pack.NewPublicKey(der); err != nil {
		return nil, err
	}
	k.algorithm = types.SigningAlgorithmSpecEd25519Sha512
	if k.public.Type() == pack.P256 {
		k.algorithm = types.SigningAlgorithmSpecEcdsaSha256
	}
	if out.KeyUsage != types.KeyUsageTypeSignVerify || !slices.Contains(out.SigningAlgorithms, k.algorithm) {
		return nil, fmt.Errorf("the key is for %s with %v, not for %s with %s", out.KeyUsage, out.SigningAlgorithms, types.KeyUsageTypeSignVerify, k.algorithm)
	}
	k.id = aws.ToString(out.KeyId)
	return k, nil
}

// kmsClientConfig takes no more than the credential from the environment, as
// the collector does: an endpoint there must not change what is asked.
func kmsClientConfig(ctx context.Context, id string, o Options) (aws.Config, error) {
	cfg := aws.Config{Region: o.KMS.Region, Logger: logging.Nop{}, HTTPClient: &http.Client{
		Timeout:       o.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	if a, err := arn.Parse(id); err == nil {
		if cfg.Region != "" && cfg.Region != a.Region {
			return cfg, fmt.Errorf("the key is in region %s, pack.kms.region says %s", a.Region, cfg.Region)
		}
		cfg.Region = a.Region
	}
	if o.KMS.Endpoint != "" {
		cfg.BaseEndpoint = aws.String(o.KMS.Endpoint)
	}
	names := o.KMS.Credentials
	if (names.AccessKeyIDEnv == "") != (names.SecretAccessKeyEnv == "") {
		return cfg, errors.New("pack.kms.credentials: want access_key_id_env and secret_access_key_env, or neither")
	}
	if names.AccessKeyIDEnv != "" {
		value := map[string]string{}
		for _, name := range []string{names.AccessKeyIDEnv, names.SecretAccessKeyEnv, names.SessionTokenEnv} {
			if name == "" {
				continue
			}
			if value[name] = o.Getenv(name); value[name] == "" {
				return cfg, fmt.Errorf("the environment variable %s is empty", name)
			}
		}
		cfg.Credentials = credentials.NewStaticCredentialsProvider(value[names.AccessKeyIDEnv], value[names.SecretAccessKeyEnv], value[names.SessionTokenEnv])
	} else {
		loaded, err := config.LoadDefaultConfig(ctx, config.WithLogger(logging.Nop{}))
		if err != nil {
			return cfg, err
		}
		cfg.Credentials = loaded.Credentials
		if cfg.Region == "" {
			cfg.Region = loaded.Region
		}
	}
	if cfg.Region == "" {
		return cfg, errors.New("the region is not known; name the key by its ARN, or set pack.kms.region")
	}
	return cfg, nil
}

func (k *kmsKey) Public() pack.PublicKey { return k.public }

func (k *kmsKey) Sign(message []byte) ([]byte, error) {
	if len(message) > maxKMSMessage {
		return nil, fmt.Errorf("%d bytes are to be signed, AWS KMS takes no more than %d", len(message), maxKMSMessage)
	}
	ctx, cancel := context.WithTimeout(k.ctx, k.o.Timeout)
	defer cancel()
	out, err := k.client.Sign(ctx, &kms.SignInput{
		KeyId: aws.String(k.id), Message: message, MessageType: types.MessageTypeRaw, SigningAlgorithm: k.algorithm,
	})
	if err != nil {
		return nil, fmt.Errorf("asking AWS KMS to sign: %w", err)
	}
	return out.Signature, nil
}
