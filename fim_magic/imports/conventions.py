"""Names that clearly mean one thing of one module: what everyday code imports, and under which name.

A name that two modules of everyday use have (`Queue`, `log`, `mean`, `Dataset`) is in none of the lists.
"""

from __future__ import annotations

MODULE_ALIASES = {
    "np": "numpy",
    "pd": "pandas",
    "plt": "matplotlib.pyplot",
    "mpl": "matplotlib",
    "sns": "seaborn",
    "tf": "tensorflow",
    "nn": "torch.nn",
    "F": "torch.nn.functional",
    "pl": "polars",
    "pa": "pyarrow",
    "px": "plotly.express",
    "go": "plotly.graph_objects",
    "alt": "altair",
    "nx": "networkx",
    "xr": "xarray",
    "gpd": "geopandas",
    "jnp": "jax.numpy",
    "sm": "statsmodels.api",
    "smf": "statsmodels.formula.api",
    "st": "streamlit",
    "gr": "gradio",
    "xgb": "xgboost",
    "lgb": "lightgbm",
    "mp": "multiprocessing",
    "ET": "xml.etree.ElementTree",
    "stats": "scipy.stats",
    "optim": "torch.optim",
}
"""What people call a module. It means that only where something is taken from it: `np.mean`."""

FROM_PARENT = frozenset({"torch.nn", "torch.optim", "scipy.stats"})
"""Those that are imported from their parents: `from torch import nn`."""

ONE_OF = {
    "F": frozenset(
        """
        adaptive_avg_pool2d avg_pool1d avg_pool2d batch_norm binary_cross_entropy binary_cross_entropy_with_logits
        conv1d conv2d conv3d cosine_similarity cross_entropy dropout dropout2d elu embedding gelu grid_sample
        group_norm gumbel_softmax hardtanh huber_loss interpolate kl_div l1_loss layer_norm leaky_relu linear
        log_softmax logsigmoid max_pool1d max_pool2d mse_loss nll_loss normalize one_hot pad pairwise_distance
        pixel_shuffle relu relu6 rms_norm scaled_dot_product_attention selu sigmoid silu smooth_l1_loss softmax softplus
        tanh triplet_margin_loss unfold upsample
        """.split()  # a list of words
    ),
    "st": frozenset({"button", "dataframe", "header", "markdown", "sidebar", "slider", "title", "write"}),
    "go": frozenset(
        {"Bar", "Box", "Figure", "Heatmap", "Histogram", "Layout", "Pie", "Scatter", "Scatter3d", "Surface"}
    ),
    "stats": frozenset({"beta", "chi2", "gaussian_kde", "linregress", "norm", "pearsonr", "spearmanr", "ttest_ind"}),
    "optim": frozenset({"SGD", "Adam", "AdamW", "Adagrad", "RMSprop", "LBFGS", "lr_scheduler"}),
    "mp": frozenset({"Lock", "Manager", "Pool", "Process", "Queue", "cpu_count", "get_context"}),
    "pa": frozenset({"Table", "array", "schema", "table"}),
}
"""Of aliases that may mean other things as well: what has to be taken from them."""

FROM_STANDARD_LIBRARY = {
    "abc": "ABC ABCMeta abstractmethod",
    "argparse": "ArgumentParser",
    "bisect": "bisect_left bisect_right insort",
    "collections": "ChainMap Counter OrderedDict defaultdict deque namedtuple",
    "concurrent.futures": "ProcessPoolExecutor ThreadPoolExecutor as_completed",
    "contextlib": "ExitStack closing contextmanager nullcontext redirect_stdout suppress",
    "copy": "deepcopy",
    "csv": "DictReader DictWriter",
    "dataclasses": "asdict astuple dataclass field",
    "datetime": "timedelta timezone",
    "decimal": "Decimal",
    "difflib": "SequenceMatcher get_close_matches unified_diff",
    "enum": "Enum IntEnum IntFlag StrEnum auto",
    "fractions": "Fraction",
    "functools": "cache cached_property cmp_to_key lru_cache partial reduce singledispatch total_ordering wraps",
    "glob": "glob",
    "hashlib": "md5 sha1 sha256 sha512",
    "heapq": "heapify heappop heappush heappushpop nlargest nsmallest",
    "io": "BytesIO StringIO TextIOWrapper",
    "itertools": """
        accumulate combinations combinations_with_replacement cycle dropwhile groupby islice pairwise permutations
        starmap takewhile zip_longest
    """,
    "math": "ceil comb degrees factorial floor gcd hypot isclose isqrt lcm perm radians sqrt",
    "operator": "attrgetter itemgetter methodcaller",
    "pathlib": "Path PosixPath PurePath",
    "pprint": "pformat pprint",
    "random": "randint randrange",
    "statistics": "multimode pstdev pvariance stdev",
    "string": "ascii_letters ascii_lowercase ascii_uppercase",
    "tempfile": "NamedTemporaryFile TemporaryDirectory",
    "textwrap": "dedent",
    "threading": "Thread",
    "time": "perf_counter sleep",
    "timeit": "timeit",
    "types": "MappingProxyType SimpleNamespace",
    "typing": """
        Any Callable ClassVar Dict Final FrozenSet Generator Generic Iterable Iterator List Literal Mapping NamedTuple
        NoReturn Optional Protocol Sequence Set Tuple Type TypeVar TypedDict Union overload
    """,
    "unittest.mock": "MagicMock patch",
    "urllib.parse": "parse_qs urlencode urljoin urlparse",
    "urllib.request": "urlopen urlretrieve",
    "uuid": "uuid4",
    "warnings": "catch_warnings filterwarnings",
    "zipfile": "ZipFile",
    "zoneinfo": "ZoneInfo",
}
"""Module by module, what people import from it."""

CONSTANTS = frozenset({"ascii_letters", "ascii_lowercase", "ascii_uppercase"})
"""Those of them that are no functions although they are written small."""

FROM_LIBRARIES = {
    "IPython.display": "HTML Markdown clear_output",
    "bs4": "BeautifulSoup",
    "datasets": "load_dataset",
    "matplotlib.animation": "FuncAnimation",
    "matplotlib.colors": "ListedColormap LogNorm",
    "matplotlib.gridspec": "GridSpec",
    "matplotlib.ticker": "FuncFormatter MaxNLocator PercentFormatter",
    "mpl_toolkits.mplot3d": "Axes3D",
    "pydantic": "BaseModel",
    "scipy.integrate": "odeint solve_ivp",
    "scipy.optimize": "curve_fit linear_sum_assignment",
    "sklearn.cluster": "AgglomerativeClustering DBSCAN KMeans MiniBatchKMeans",
    "sklearn.compose": "ColumnTransformer TransformedTargetRegressor make_column_selector make_column_transformer",
    "sklearn.datasets": """
        fetch_california_housing fetch_openml load_breast_cancer load_diabetes load_digits load_iris load_wine
        make_blobs make_circles make_classification make_moons make_regression make_swiss_roll
    """,
    "sklearn.decomposition": "IncrementalPCA KernelPCA NMF PCA TruncatedSVD",
    "sklearn.ensemble": """
        AdaBoostClassifier BaggingClassifier ExtraTreesClassifier GradientBoostingClassifier GradientBoostingRegressor
        HistGradientBoostingClassifier HistGradientBoostingRegressor RandomForestClassifier RandomForestRegressor
        StackingClassifier VotingClassifier
    """,
    "sklearn.feature_extraction.text": "CountVectorizer TfidfVectorizer",
    "sklearn.impute": "KNNImputer SimpleImputer",
    "sklearn.linear_model": """
        ElasticNet Lasso LassoCV LinearRegression LogisticRegression Perceptron Ridge RidgeCV SGDClassifier SGDRegressor
    """,
    "sklearn.manifold": "LocallyLinearEmbedding MDS TSNE",
    "sklearn.metrics": """
        ConfusionMatrixDisplay accuracy_score auc classification_report confusion_matrix f1_score log_loss
        mean_absolute_error mean_squared_error precision_recall_curve precision_score r2_score recall_score
        roc_auc_score roc_curve root_mean_squared_error silhouette_score
    """,
    "sklearn.mixture": "BayesianGaussianMixture GaussianMixture",
    "sklearn.model_selection": """
        GridSearchCV GroupKFold KFold RandomizedSearchCV StratifiedKFold StratifiedShuffleSplit cross_val_predict
        cross_val_score learning_curve train_test_split
    """,
    "sklearn.naive_bayes": "BernoulliNB GaussianNB MultinomialNB",
    "sklearn.neighbors": "KNeighborsClassifier KNeighborsRegressor NearestNeighbors",
    "sklearn.neural_network": "MLPClassifier MLPRegressor",
    "sklearn.pipeline": "FeatureUnion Pipeline make_pipeline",
    "sklearn.preprocessing": """
        FunctionTransformer LabelBinarizer LabelEncoder MinMaxScaler OneHotEncoder OrdinalEncoder PolynomialFeatures
        RobustScaler StandardScaler
    """,
    "sklearn.svm": "LinearSVC LinearSVR SVC SVR",
    "sklearn.tree": "DecisionTreeClassifier DecisionTreeRegressor export_graphviz plot_tree",
    "sqlalchemy": "create_engine",
    "torch.utils.data": "DataLoader TensorDataset random_split",
    "tqdm": "tqdm trange",
    "transformers": "AutoModel AutoModelForCausalLM AutoModelForSequenceClassification AutoTokenizer",
}
"""The same of libraries; they count where they are installed."""

BY_USE = {
    "datetime": (
        ("datetime", frozenset("combine fromisoformat fromtimestamp now strptime today utcnow".split())),
        frozenset("MAXYEAR MINYEAR UTC date datetime time timedelta timezone tzinfo".split()),
    ),
    "date": (("datetime", frozenset({"fromisoformat", "fromtimestamp", "today"})), frozenset[str]()),
    "Image": (("PIL", frozenset({"fromarray", "frombytes", "merge", "new", "open"})), frozenset[str]()),
}
"""Names that mean two things: the module that a name is imported from where one of these is taken from it (or, of
`datetime` and `date`, it is called), and what is taken from the module of that name."""
